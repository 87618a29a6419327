"""What the named experiments compute: for each a list of configs, one a run."""

from tra_mini.rivals import MECHANISMS

MODEL = {"n_layer": 2, "n_head": 4, "d_model": 64}
TRAINING = {"steps": 1000, "length": 64, "batch": 16, "learning_rate": 3e-3}
TRAINING |= {"p_ignore": 0.8, "starts": 3}  # of at most 3 starts the first that learns counts
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
STRONGEST = ("ssmax", "entmax", "stick_breaking", "lstm")
FIRST = [name for name in MECHANISMS if name not in STRONGEST and not name.startswith("tra_")]
HEADLINE = ("tra", "fox", "alibi", "rope")
PAPER = {"n_layer": 4, "n_head": 4, "d_model": 256, "steps": 25000, "length": 512, "batch": 64}
PAPER |= {"learning_rate": 1e-4, "warmup": 0, "starts": 1, "cope_table": 512}


def flip_flop_config(mechanism, seed):
    """All that the weights of a flip-flop run depend on."""
    return {"mechanism": mechanism, "seed": seed} | MODEL | TRAINING


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
HARDER = {  # a task's own settings, and what differs from MODEL and TRAINING
    "registers": {"settings": {"n_registers": 4, "p_ignore": 0.5}, "vocab_size": 14}
    | {"shortest": 10, "steps": 3000},
    "recall": {"settings": {"n_keys": 128, "n_values": 16}, "vocab_size": 144}
    | {"length": 32, "steps": 2000},
    "copy": {"settings": {"n_symbols": 16, "unique": False}, "vocab_size": 18, "length": 32},
    "count": {"settings": {"modulus": 5, "p_reset": 0.1}, "vocab_size": 9}
    | {"length": 32, "batch": 32, "steps": 1000},
    "parity": {"settings": {}, "vocab_size": 3, "length": 32, "batch": 32, "steps": 600},
    "max_retrieval": {"settings": {"n_levels": 10, "n_classes": 10}, "vocab_size": 111}
    | {"length": 18, "batch": 64, "steps": 1000},
}
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


def task_config(task, mechanism, seed, name=None, **changes):
    """A run of a harder task: trained on strings of all lengths up to one, tested to 16 x it."""
    config = {"task": task, "mechanism": mechanism, "seed": seed, "shortest": 4} | MODEL
    config |= {part: TRAINING[part] for part in ("length", "batch", "learning_rate")}
    config |= {"steps": 1500, "starts": 1} | HARDER[task] | changes
    lengths, tokens = [config["length"] * factor for factor in (1, 2, 4, 8, 16)], 2**16
    if task == "max_retrieval":  # 16 items, and up to 256 times as many; a question, an answer
        lengths, tokens = [16 * factor + 2 for factor in (1, 2, 4, 8, 16, 64, 256)], 2**17
    testing = {"splits": {name or task: config["settings"]}, "lengths": lengths, "tokens": tokens}
    return config | {"cope_table": config["length"], "testing": testing}


LANGUAGE = MODEL | {"task": "stdlib_bytes", "settings": {"split": "train"}, "vocab_size": 256}
LANGUAGE |= {"length": 128, "cope_table": 128, "batch": 8, "steps": 2000, "learning_rate": 3e-3}
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


def language_config(mechanism, seed, name="text", **changes):
    """A run on bytes of source code: trained on 128 at a time, tested on up to 2,048."""
    testing = {"splits": {name: {"split": "test"}}, "lengths": [128, 256, 512, 1024, 2048]}
    testing["tokens"] = 16 * 2048  # the same for every length, mechanism and seed
    config = LANGUAGE | {"mechanism": mechanism, "seed": seed, "starts": 1} | changes
    return config | {"testing": testing}


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
    "flip_flop_variants": flip_flop_grid(VARIANTS, SEEDS[:3], SPLITS, LENGTHS, 2**15),
    "registers_longer": [  # after the first 3,000 left errors at 16 times the length
        task_config("registers", mechanism, seed, "registers, twice the steps", steps=6000)
        for seed in SEEDS[:3]
        for mechanism in ("tra", "contextual_only", "fox", "stick_breaking", "lstm")
    ],
    "language": [language_config(mechanism, SEEDS[0]) for mechanism in (*FIRST, *STRONGEST)]
    + [language_config(mechanism, seed) for seed in SEEDS[1:3] for mechanism in HEADLINE],
    "language_tried": [
        language_config(mechanism, SEEDS[0], name, **changes) for name, mechanism, changes in TRIED
    ],
    "paper": [  # the authors' protocol: 4,000 strings of 512 tokens test each split; wants a GPU
        config | PAPER | {"testing": config["testing"] | {"at_most": 4000}}
        for config in flip_flop_grid(HEADLINE, SEEDS[:3], SPLITS, [512], 4000 * 512)
    ],
}
