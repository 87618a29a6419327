"""How every stored result is made: the other mechanisms, tasks, grids, results and figures.

Importing this adds the other mechanisms to tra_mini's MECHANISMS and STYLE.
"""

from experiments import rivals, variants
from experiments.compute import stored
from experiments.results import RESULTS
