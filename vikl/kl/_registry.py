"""The two-type registry behind `vikl.kl_divergence` (placeholder until the divergence room lands)."""
