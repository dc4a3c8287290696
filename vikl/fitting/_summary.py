"""The table of named parameters."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True, repr=False)
class Summary:
    """Named rows of mean, sd, 5 % and 95 % of the fit, and mean and sd after resampling.

    `columns[name]` is an array with one value for each of `names`; the repr is a table;
    `summary["mu"]` is one row.

    Example:
        >>> draws = {"mu": np.array([0.0, 1.0, 2.0])}
        >>> summary = summarize(draws, draws, np.ones(3))
        >>> summary["mu"]["mean"], summary["mu"]["sd"]
        (1.0, 1.0)
    """

    names: tuple[str, ...]
    columns: dict[str, np.ndarray]

    def __getitem__(self, name: str) -> dict[str, float]:
        row = self.names.index(name)
        return {column: float(values[row]) for column, values in self.columns.items()}

    def __repr__(self) -> str:
        width = max(len("parameter"), *(len(name) for name in self.names))
        head = f"{'parameter':<{width}}" + "".join(f"{c:>22}" for c in self.columns)
        rows = [
            f"{name:<{width}}" + "".join(f"{v[i]:>22.4g}" for v in self.columns.values())
            for i, name in enumerate(self.names)
        ]
        return "\n".join([head, *rows])


def summarize(
    draws: dict[str, np.ndarray],
    weighted: dict[str, np.ndarray],
    weights: np.ndarray,
    linear_response: dict[str, np.ndarray] | None = None,
) -> Summary:
    """Make the table of draws `{name: (n,)}`, beside `weighted` ones with their `weights` (m,).

    `linear_response`, where given, are draws with its covariance: their sds are a column more.
    """
    names = tuple(draws)
    values = np.stack([np.asarray(draws[name], np.float64) for name in names], axis=1)
    others = np.stack([np.asarray(weighted[name], np.float64) for name in names], axis=1)
    share = weights / weights.sum()
    mean = share @ others
    columns = {
        "mean": values.mean(axis=0),
        "sd": values.std(axis=0, ddof=1),
        "5%": np.quantile(values, 0.05, axis=0),
        "95%": np.quantile(values, 0.95, axis=0),
        "mean (resampled)": mean,
        "sd (resampled)": np.sqrt(share @ (others - mean) ** 2),
    }
    if linear_response is not None:
        corrected = [np.std(np.asarray(linear_response[name], np.float64)) for name in names]
        columns["sd (linear response)"] = np.array(corrected)
    return Summary(names, columns)
