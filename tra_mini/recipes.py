"""The config of one run: model, training and testing; of flip-flops, a harder task, or text."""

MODEL = {"n_layer": 2, "n_head": 4, "d_model": 64}
TRAINING = {"steps": 1000, "length": 64, "batch": 16, "learning_rate": 3e-3}
TRAINING |= {"p_ignore": 0.8, "starts": 3}  # of at most 3 starts the first that learns counts
PAPER = {"n_layer": 4, "n_head": 4, "d_model": 256, "steps": 25000, "length": 512, "batch": 64}
PAPER |= {"learning_rate": 1e-4, "warmup": 0, "starts": 1, "cope_table": 512}
HARDER = {  # a task's own settings, and what differs from MODEL and TRAINING
    "registers": {"settings": {"n_registers": 4, "p_ignore": 0.5}, "vocab_size": 14}
    | {"shortest": 10, "steps": 3000},
    "recall": {"settings": {"n_keys": 128, "n_values": 16}, "vocab_size": 144}
    | {"length": 32, "steps": 2000},
    "copy": {"settings": {"n_symbols": 16, "unique": False}, "vocab_size": 18, "length": 32}
    | {"steps": 1500},
    "count": {"settings": {"modulus": 5, "p_reset": 0.1}, "vocab_size": 9}
    | {"length": 32, "batch": 32},
    "parity": {"settings": {}, "vocab_size": 3, "length": 32, "batch": 32, "steps": 600},
    "max_retrieval": {"settings": {"n_levels": 10, "n_classes": 10}, "vocab_size": 111}
    | {"length": 18, "batch": 64},
}
LANGUAGE = MODEL | {"task": "stdlib_bytes", "settings": {"split": "train"}, "vocab_size": 256}
LANGUAGE |= {"length": 128, "cope_table": 128, "batch": 8, "steps": 2000, "learning_rate": 3e-3}


def flip_flop_config(mechanism, seed):
    """All that the weights of a flip-flop run depend on."""
    return {"mechanism": mechanism, "seed": seed} | MODEL | TRAINING


def task_config(task, mechanism, seed, name=None, **changes):
    """A run of a harder task: trained on all lengths up to one, tested to 16 (or 256) times it."""
    config = {"task": task, "mechanism": mechanism, "seed": seed, "shortest": 4} | MODEL
    config |= {part: TRAINING[part] for part in ("steps", "length", "batch", "learning_rate")}
    config |= {"starts": 1} | HARDER[task] | changes
    lengths, tokens = [config["length"] * factor for factor in (1, 2, 4, 8, 16)], 2**16
    if task == "max_retrieval":  # 16 items, and up to 256 times as many; a question, an answer
        lengths, tokens = [16 * factor + 2 for factor in (1, 2, 4, 8, 16, 64, 256)], 2**17
    testing = {"splits": {name or task: config["settings"]}, "lengths": lengths, "tokens": tokens}
    return config | {"cope_table": config["length"], "testing": testing}


def language_config(mechanism, seed, name="text", **changes):
    """A run on bytes of source code: trained on 128 at a time, tested on up to 2,048."""
    testing = {"splits": {name: {"split": "test"}}, "lengths": [128, 256, 512, 1024, 2048]}
    testing["tokens"] = 16 * 2048  # the same for every length, mechanism and seed
    config = LANGUAGE | {"mechanism": mechanism, "seed": seed, "starts": 1} | changes
    return config | {"testing": testing}
