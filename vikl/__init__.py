"""vikl."""
from . import families as families, estimators as estimators, objectives as objectives
