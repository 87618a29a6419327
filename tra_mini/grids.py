"""What the named experiments compute: for each a list of configs, one a run."""

from tra_mini.recipes import HARDER, PAPER, flip_flop_config, language_config, task_config
from tra_mini.rivals import MECHANISMS

IN_DISTRIBUTION = {"in_distribution": 0.8}  # name: p_ignore
NOT_DENSE = IN_DISTRIBUTION | {"sparse": 0.98}
SPLITS = NOT_DENSE | {"dense": 0.1}
LENGTHS = [64, 128, 256, 512, 1024, 2048, 4096]
SEEDS = range(5, 10)  # 0 to 4 were looked at, long strings too, while the project was built
RECIPES = [  # of equally many tokens; TRAINING is the one of lowest loss at the training length
    {"steps": steps, "batch": 16000 // steps, "learning_rate": learning_rate}
    for steps in (500, 1000)
    for learning_rate in (1e-3, 3e-3, 1e-2)
]
REGISTERS_RECIPES = [  # longer or wider than HARDER's, which is the first
    {"steps": 3000, "learning_rate": 3e-3, "d_model": 64},
    {"steps": 6000, "learning_rate": 3e-3, "d_model": 64},
    {"steps": 6000, "learning_rate": 1e-3, "d_model": 64},
    {"steps": 3000, "learning_rate": 1e-3, "d_model": 128},
    {"steps": 6000, "learning_rate": 1e-3, "d_model": 128},
]
STRONGEST = ("ssmax", "entmax", "stick_breaking", "lstm")
FIRST = [name for name in MECHANISMS if name not in STRONGEST and not name.startswith("tra_")]
HEADLINE = ("tra", "fox", "alibi", "rope")


def flip_flop_grid(mechanisms, seeds, splits, lengths, tokens):
    """A run's config for each seed and mechanism; tokens: how many test each length and split."""
    testing = {"splits": splits, "lengths": lengths, "tokens": tokens}
    return [
        flip_flop_config(mechanism, seed) | {"testing": testing}
        for seed in seeds
        for mechanism in mechanisms
    ]


def long_grid(splits, seeds, lengths, tokens):
    """TRA, a run for each split too: they take minutes, and what has finished is kept."""
    return [
        config
        for split, p_ignore in splits.items()
        for config in flip_flop_grid(["tra"], seeds, {split: p_ignore}, lengths, tokens)
    ]


CONTENDERS = ("tra", "sparsity_raw", "contextual_only", "fox", "alibi", "rope", *STRONGEST)
UNIQUE = {"settings": {"n_symbols": 256, "unique": True}, "vocab_size": 258}
REMEDIES = (  # where TRA falls short, what might help: task, name, mechanism, changes
    ("copy", "copy", "tra_beside_nope", {}),
    ("copy", "copy", "tra_beside_local", {}),
    ("copy", "copy, four layers", "tra", {"n_layer": 4}),
    ("copy", "copy, unique symbols", "tra", UNIQUE),
    ("recall", "recall", "tra_beside_local", {}),
    *((task, task, "tra_annealed", {}) for task in ("recall", "count", "max_retrieval")),
    *((task, task, "tra_low_threshold", {}) for task in HARDER if task != "parity"),
)
VARIANTS = ("tra_beside_local", "tra_low_threshold", "tra_annealed")  # that learn more of text


TRIED = (  # to let TRA learn more of text: name, mechanism, changes to the config
    ("all heads of width 32", "tra", {"n_head": 2}),
    ("all heads of width 8", "tra", {"n_head": 8}),
    ("gates that start near 1", "tra_slow_gates", {}),
    ("gates spread over the heads", "tra_spread_gates", {}),
    ("threshold -1", "tra_low_threshold", {}),
    ("removal annealed", "tra_annealed", {}),
    ("half of the heads NoPE", "tra_beside_nope", {}),
    ("half of the heads local", "tra_beside_local", {}),
    ("three times the steps", "tra", {"steps": 6000}),
    ("three times the steps, FoX", "fox", {"steps": 6000}),
)


EXPERIMENTS = {
    "recipe": [
        config | recipe | {"starts": 1}
        for recipe in RECIPES
        for config in flip_flop_grid(["tra"], range(100, 103), IN_DISTRIBUTION, [64], 2**15)
    ],
    "headline": flip_flop_grid(HEADLINE, SEEDS[:3], SPLITS, LENGTHS, 2**15),
    "flip_flop": flip_flop_grid(FIRST, SEEDS, SPLITS, LENGTHS, 2**16)
    + flip_flop_grid(STRONGEST, SEEDS[:3], SPLITS, LENGTHS, 2**15),  # sorting takes its time
    "flip_flop_long": long_grid(SPLITS | {"very_sparse": 0.999}, SEEDS, [16384, 65536], 2**16),
    "flip_flop_far": long_grid(NOT_DENSE, SEEDS[:3], [2**18], 2**18),  # 4,096 times the training
    "flip_flop_million": long_grid(NOT_DENSE, SEEDS[:3], [2**20], 2**20),  # 16,384 times
    "tasks": [
        task_config(task, mechanism, seed)
        for seed in SEEDS[:3]
        for task in HARDER
        for mechanism in CONTENDERS
    ],
    "remedies": [
        task_config(task, mechanism, seed, name, **changes)
        for seed in SEEDS[:3]
        for task, name, mechanism, changes in REMEDIES
    ],
    "flip_flop_variants": flip_flop_grid(VARIANTS, SEEDS, SPLITS, LENGTHS, 2**15),
    "registers_recipe": [
        config | {"testing": config["testing"] | {"lengths": [64], "tokens": 2**15}}
        for seed in range(100, 103)
        for recipe in REGISTERS_RECIPES
        for config in [task_config("registers", "tra", seed, **recipe)]
    ],
    "registers_longer": [  # the recipe whose median seed has the lowest loss; others start again
        task_config("registers", mechanism, seed, **REGISTERS_RECIPES[1], starts=3, learned=0.001)
        for seed in SEEDS[:3]
        for mechanism in ("tra", "contextual_only", "fox", "stick_breaking", "lstm")
    ],
    "language": [language_config(mechanism, SEEDS[0]) for mechanism in (*FIRST, *STRONGEST)]
    + [language_config(mechanism, seed) for seed in SEEDS[1:3] for mechanism in HEADLINE],
    "language_tried": [
        language_config(mechanism, SEEDS[0], name, **changes) for name, mechanism, changes in TRIED
    ]
    + [
        language_config(mechanism, seed, name)
        for seed in SEEDS[1:3]
        for name, mechanism, _ in TRIED
        if mechanism in VARIANTS
    ],
    "paper": [  # the authors' protocol: 4,000 strings of 512 tokens test each split; wants a GPU
        config | PAPER | {"testing": config["testing"] | {"at_most": 4000}}
        for config in flip_flop_grid(HEADLINE, SEEDS[:3], SPLITS, [512], 4000 * 512)
    ],
}
