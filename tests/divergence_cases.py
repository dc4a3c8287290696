"""The table of divergence cases: divergence x pair, with 25-digit values from definitions.

`VALUES` is printed by `python tests/test_divergences_reference.py`. Parameters are exact in
float32.
"""

TEXTBOOK = {"dirichlet", "multivariate_normal"}
# pair name -> (family, parameters of p, parameters of q)
PAIRS = {
    "normal": ("normal", (0.25, 0.75), (1.0, 1.5)),
    "normal_near": ("normal", (0.5, 1.0), (0.5009765625, 1.001953125)),
    "normal_wide": ("normal", (0.5, 64.0), (-1.0, 0.5)),
    "log_normal": ("log_normal", (0.25, 0.75), (1.0, 1.5)),
    "half_normal": ("half_normal", (0.75,), (1.25,)),
    "laplace": ("laplace", (0.25, 0.75), (1.0, 1.5)),
    "exponential": ("exponential", (2.0,), (1.25,)),
    "gamma": ("gamma", (2.0, 1.0), (3.0, 1.5)),
    "gamma_near": ("gamma", (2.0, 1.0), (2.001953125, 1.001953125)),
    "inverse_gamma": ("inverse_gamma", (3.0, 1.0), (4.0, 1.5)),
    "beta": ("beta", (2.0, 3.0), (2.5, 2.25)),
    "dirichlet": ("dirichlet", (2.0, 3.0, 0.75), (2.5, 2.25, 1.0)),
    "multivariate_normal": (
        "multivariate_normal",
        ((0.25, -0.5), ((1.0, 0.0), (0.25, 0.75))),
        ((1.0, 0.5), ((1.25, 0.0), (-0.125, 1.0))),
    ),
    "poisson": ("poisson", (2.0,), (3.25,)),
    "geometric": ("geometric", (0.25,), (0.375,)),
    "bernoulli": ("bernoulli", (0.25,), (0.625,)),
    "bernoulli_near": ("bernoulli", (0.25,), (0.2509765625,)),
    "binomial": ("binomial", (0.25,), (0.625,)),
    "categorical": ("categorical", (0.5, 0.25, 0.25, 0.0), (0.125, 0.375, 0.25, 0.25)),
}
TOTAL_COUNT = 5
POWERS = [("renyi_divergence", (0.25,)), ("renyi_divergence", (2.0,))]
MORE_POWERS = [
    ("renyi_divergence", (-0.5,)),
    ("renyi_divergence", (1.5,)),
    ("alpha_divergence", (-0.5,)),
    ("alpha_divergence", (0.0,)),
    ("alpha_divergence", (0.75,)),
    ("alpha_divergence", (1.0,)),
    ("alpha_divergence", (1.5,)),
    ("chi_squared_divergence", ()),
    ("squared_hellinger_distance", ()),
    ("bhattacharyya_distance", ()),
    ("jeffreys_divergence", ()),
    ("cross_entropy", ()),
]
INTEGRALS = [
    ("jensen_shannon_divergence", ()),
    ("jensen_shannon_divergence", ((0.25, 0.75),)),
    ("skew_kl_divergence", (0.25,)),
]
EVERY = [*POWERS, ("entropy", ())]
LINES = ("normal", "normal_near", "normal_wide", "log_normal")
DISCRETE = ("bernoulli", "bernoulli_near", "categorical", "binomial")


def rows() -> list[tuple[str, tuple, str]]:
    """All (divergence, arguments, pair) of the table."""
    table = [(name, args, pair) for pair in PAIRS for name, args in EVERY]
    table += [(n, a, pair) for pair in ("normal", "gamma", "categorical") for n, a in MORE_POWERS]
    table += [(n, a, pair) for pair in (*LINES, "laplace", *DISCRETE) for n, a in INTEGRALS]
    table += [("total_variation_distance", (), pair) for pair in (*LINES, *DISCRETE)]
    w2 = ("normal", "normal_near", "laplace", "exponential", "half_normal", "multivariate_normal")
    return table + [("wasserstein2_distance", (), pair) for pair in w2]


def key(name, arguments, pair):
    """The key of `VALUES`."""
    return f"{name} {' '.join(map(str, arguments))} {pair}".replace("  ", " ")


def distribution(family, parameters, cast):
    """The numpyro distribution; `cast` makes an array of a parameter."""
    import numpyro.distributions as dist

    x = [cast(v) for v in parameters]
    if family == "multivariate_normal":
        return dist.MultivariateNormal(x[0], scale_tril=x[1])
    if family in ("categorical", "dirichlet"):
        whole = cast(parameters)
        return dist.Categorical(whole) if family == "categorical" else dist.Dirichlet(whole)
    if family == "binomial":
        return dist.Binomial(TOTAL_COUNT, x[0])
    if family == "geometric":
        return dist.Geometric(x[0])
    name = "".join(part.capitalize() for part in family.split("_"))
    return getattr(dist, name)(*x)


# key -> value, 25 digits
VALUES = {
    "renyi_divergence 0.25 normal": "0.2134567031988714496129435",
    "renyi_divergence 2.0 normal": "0.556196429449376823424645",
    "entropy normal": "1.131256460752891814341111",
    "renyi_divergence 0.25 normal_near": "0.000001071526789781879511977775",
    "renyi_divergence 2.0 normal_near": "0.000008531204182851443414628591",
    "entropy normal_near": "1.41893853320467274178033",
    "renyi_divergence 0.25 normal_wide": "1.425660487107203228115467",
    "renyi_divergence 2.0 normal_wide": "inf",
    "entropy normal_wide": "5.577821616564344598283722",
    "renyi_divergence 0.25 log_normal": "0.2134567031988714496129435",
    "renyi_divergence 2.0 log_normal": "0.556196429449376823424645",
    "entropy log_normal": "1.381256460752891814341111",
    "renyi_divergence 0.25 half_normal": "0.07487464549488134110682661",
    "renyi_divergence 2.0 half_normal": "0.2634775028479371558728917",
    "entropy half_normal": "0.4381092801929465049238786",
    "renyi_divergence 0.25 laplace": "0.1183743600660372044713084",
    "renyi_divergence 2.0 laplace": "0.5848520469773465587851365",
    "entropy laplace": "1.405465108108164381978013",
    "renyi_divergence 0.25 exponential": "0.02968138008496641194506",
    "renyi_divergence 2.0 exponential": "0.1515498981272009378406898",
    "entropy exponential": "0.3068528194400546905827679",
    "renyi_divergence 0.25 gamma": "0.01079598111682958103662927",
    "renyi_divergence 2.0 gamma": "0.1698990367953974729004249",
    "entropy gamma": "1.577215664901532860606512",
    "renyi_divergence 0.25 gamma_near": "0.0000003067672848763059864429278",
    "renyi_divergence 2.0 gamma_near": "0.000002460233670948232879833685",
    "entropy gamma_near": "1.577215664901532860606512",
    "renyi_divergence 0.25 inverse_gamma": "0.01079598111682958103662927",
    "renyi_divergence 2.0 inverse_gamma": "0.1698990367953974729004249",
    "entropy inverse_gamma": "0.002009840166076751843280482",
    "renyi_divergence 0.25 beta": "0.04894817239529328495935603",
    "renyi_divergence 2.0 beta": "0.3754538969370547679947351",
    "entropy beta": "-0.2349066497880003102297095",
    "renyi_divergence 0.25 dirichlet": "0.06597405789255073265533491",
    "renyi_divergence 2.0 dirichlet": "0.5550966052657063124043828",
    "entropy dirichlet": "-1.445847609436239529888768",
    "renyi_divergence 0.25 multivariate_normal": "0.2727755677939260132989602",
    "renyi_divergence 2.0 multivariate_normal": "1.64974268119876492535591",
    "entropy multivariate_normal": "2.55019499395756455612144",
    "renyi_divergence 0.25 poisson": "0.07863320966738943351567931",
    "renyi_divergence 2.0 poisson": "0.4807692307692307692307692",
    "entropy poisson": "1.704882643932983838377587",
    "renyi_divergence 0.25 geometric": "0.02727225316328678667000251",
    "renyi_divergence 2.0 geometric": "0.5108256237659906832055141",
    "entropy geometric": "2.249340578475233401152121",
    "renyi_divergence 0.25 bernoulli": "0.07825641563317122205503131",
    "renyi_divergence 2.0 bernoulli": "0.470003629245735553650937",
    "entropy bernoulli": "0.5623351446188083502880303",
    "renyi_divergence 0.25 bernoulli_near": "0.0000006350949244824398647332087",
    "renyi_divergence 2.0 bernoulli_near": "0.000005073064816023501812617712",
    "entropy bernoulli_near": "0.5623351446188083502880303",
    "renyi_divergence 0.25 binomial": "0.3912820781658561102751565",
    "renyi_divergence 2.0 binomial": "2.350018146228677768254685",
    "entropy binomial": "1.342052132566523583882734",
    "renyi_divergence 0.25 categorical": "0.3560794528389761805196403",
    "renyi_divergence 2.0 categorical": "0.8823891801984737169535626",
    "entropy categorical": "1.039720770839917964125848",
    "renyi_divergence -0.5 normal": "-inf",
    "renyi_divergence 1.5 normal": "0.5110570858050470572433485",
    "alpha_divergence -0.5 normal": "inf",
    "alpha_divergence 0.0 normal": "1.306852819440054690582768",
    "alpha_divergence 0.75 normal": "0.4993870644270003673142743",
    "alpha_divergence 1.0 normal": "0.4431471805599453094172321",
    "alpha_divergence 1.5 normal": "0.3881918206472968931391715",
    "chi_squared_divergence normal": "0.7440263415096851945193557",
    "squared_hellinger_distance normal": "0.1491945378473598101394769",
    "bhattacharyya_distance normal": "0.1615717756571048778831475",
    "jeffreys_divergence normal": "1.75",
    "cross_entropy normal": "1.574403641312837123758343",
    "renyi_divergence -0.5 gamma": "-0.01812704014661105176208198",
    "renyi_divergence 1.5 gamma": "0.0982335983203045011098129",
    "alpha_divergence -0.5 gamma": "0.03675146247014541501692787",
    "alpha_divergence 0.0 gamma": "0.04056737075485059393228202",
    "alpha_divergence 0.75 gamma": "0.04951844172440721268338301",
    "alpha_divergence 1.0 gamma": "0.05396752113698502408970487",
    "alpha_divergence 1.5 gamma": "0.06712403034509908329731752",
    "chi_squared_divergence gamma": "0.1851851851851851851851852",
    "squared_hellinger_distance gamma": "0.01148546850712948717973916",
    "bhattacharyya_distance gamma": "0.01155193593033131152483944",
    "jeffreys_divergence gamma": "0.09453489189183561802198688",
    "cross_entropy gamma": "1.631183186038517884696217",
    "renyi_divergence -0.5 categorical": "-inf",
    "renyi_divergence 1.5 categorical": "0.7488075146633119705422579",
    "alpha_divergence -0.5 categorical": "inf",
    "alpha_divergence 0.0 categorical": "inf",
    "alpha_divergence 0.75 categorical": "0.6388060239021111450526947",
    "alpha_divergence 1.0 categorical": "0.5917809035329042139227288",
    "alpha_divergence 1.5 categorical": "0.6054988603092420109108093",
    "chi_squared_divergence categorical": "1.416666666666666666666667",
    "squared_hellinger_distance categorical": "0.1938137821521027377253395",
    "bhattacharyya_distance categorical": "0.2154405236475067943175671",
    "jeffreys_divergence categorical": "inf",
    "cross_entropy categorical": "1.631501674372822178048577",
    "jensen_shannon_divergence normal": "0.1281749730543980104248181",
    "jensen_shannon_divergence (0.25, 0.75) normal": "0.08775093338337367886577905",
    "skew_kl_divergence 0.25 normal": "0.06273189595869901638509468",
    "jensen_shannon_divergence normal_near": "0.000001070787671061126948520067",
    "jensen_shannon_divergence (0.25, 0.75) normal_near": "0.0000008025404696260975223765874",
    "skew_kl_divergence 0.25 normal_near": "0.0000002684345376207583510138071",
    "jensen_shannon_divergence normal_wide": "0.6495582126969220445396866",
    "jensen_shannon_divergence (0.25, 0.75) normal_wide": "0.5345098533221395557321371",
    "skew_kl_divergence 0.25 normal_wide": "0.2409571105727953075613063",
    "jensen_shannon_divergence log_normal": "0.1281749730543980104248181",
    "jensen_shannon_divergence (0.25, 0.75) log_normal": "0.08775093338337367886577905",
    "skew_kl_divergence 0.25 log_normal": "0.06273189595869901638509468",
    "jensen_shannon_divergence laplace": "0.09748601850558377264744131",
    "jensen_shannon_divergence (0.25, 0.75) laplace": "0.0708277841424499500812841",
    "skew_kl_divergence 0.25 laplace": "0.03442951752266660510871754",
    "jensen_shannon_divergence bernoulli": "0.0733650158880630587951682",
    "jensen_shannon_divergence (0.25, 0.75) bernoulli": "0.05443656723001215355620701",
    "skew_kl_divergence 0.25 bernoulli": "0.02053511168875831340719591",
    "jensen_shannon_divergence bernoulli_near": "0.0000006349572308193106605466027",
    "jensen_shannon_divergence (0.25, 0.75) bernoulli_near": "0.000000476114971563923351381583",
    "skew_kl_divergence 0.25 bernoulli_near": "0.0000001588767914485690087116591",
    "jensen_shannon_divergence categorical": "0.1531684821238826334598281",
    "jensen_shannon_divergence (0.25, 0.75) categorical": "0.1093798216972464968739484",
    "skew_kl_divergence 0.25 categorical": "0.07437392347502638717302199",
    "jensen_shannon_divergence binomial": "0.2839522077927818209879604",
    "jensen_shannon_divergence (0.25, 0.75) binomial": "0.220748233613419272555578",
    "skew_kl_divergence 0.25 binomial": "0.09786649267610604716362825",
    "total_variation_distance normal": "0.3900656601210556610529514",
    "total_variation_distance normal_near": "0.001002676479947696570726039",
    "total_variation_distance normal_wide": "0.9787505306378999108527413",
    "total_variation_distance log_normal": "0.3900656601210556610529514",
    "total_variation_distance bernoulli": "0.375",
    "total_variation_distance bernoulli_near": "0.0009765625",
    "total_variation_distance categorical": "0.375",
    "total_variation_distance binomial": "0.62127685546875",
    "wasserstein2_distance normal": "1.060660171779821286601267",
    "wasserstein2_distance normal_near": "0.002183660134277138375399584",
    "wasserstein2_distance laplace": "1.299038105676657970145585",
    "wasserstein2_distance exponential": "0.4242640687119285146405066",
    "wasserstein2_distance half_normal": "0.5",
    "wasserstein2_distance multivariate_normal": "1.329870580609304832510209",
}
