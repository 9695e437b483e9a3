"""The catalogue as a document: docs/methods.md."""

from __future__ import annotations

from pomona.report.catalogue import Section, sections

_HEAD = """# Methods

Everything that can be written where a study prunes, treats the survivors or controls for chance. This page is
made from the catalogue (`pomona methods --markdown`); `pomona methods NAME` shows one entry in a terminal.

A method is put together from parts, each chosen by itself:

```yaml
steps:
  dense:  {init: lenet, on: clean, train: full}
  ticket:
    from: dense
    repeat: 20
    prune:
      method: {criterion: taylor, granularity: channel-out, scope: kind, examples: 256}
      amount: {conv: 10%, linear: 20%}        # of what remains, each level
    treat: {rewind: 500it}
    on: clean
    train: full
```

Instead of an `amount` of what remains, `to: 5%` names the density of the last level, and `schedule` the way
down. A step that trains can prune meanwhile:

```yaml
  gradual:
    init: lenet
    on: clean
    train: full
    during: {method: global-unstructured, to: 5%, schedule: cubic, begin: 1ep, end: 20ep, every: 100it}
```

What is not written has these values: `granularity: weight`, `scope: layer`, `layers: all`, `pruned: zero`,
`rounds: 1`, `examples: 128`, `amount: 20%`, `rounding: nearest`, `schedule: exponential` (of `during`:
`cubic`). So `method: snip`, which is a whole method of the first table (all layers ranked together), is not
`method: {criterion: snip}`, which ranks each layer by itself; SynFlow as its authors run it is
`method: synflow`, with its 100 rounds. `inverted: yes` keeps what the criterion would prune. The examples are
drawn uniformly from those that train, by the replicate's mask stream, anew at each level.

A treatment sets every tensor of the network, biases, batch-norm scales and statistics included: those of its
target, or, for `finetune`, those that training left. Biases are never masked. The optimizer starts without a
past in every training; in pruning `during` a training it goes on, and its state is zero where a weight was
pruned.

On any module, without a study:

```python
from pomona import pruning

pruned = pruning.prune_module(model, "snip", density=0.05, batch=(inputs, labels), seed=0)
pruning.mask_module(model, pruned)  # also what OBS moves
held = pruning.hold_masks(model, pruned.masks)  # pruned weights stay exactly zero while you train
```

Among equal scores the unit with the lowest index goes first, unless an entry says that ties are cut at
random. Masks only shrink. What the field calls learning-rate rewinding is a training that starts late:
`treat: finetune` with `train: {like: full, start: 10ep}`; together with `treat: {rewind: 10ep}` it is weight
rewinding as its papers run it.
"""


def document() -> str:
    """All sections as Markdown."""
    return "\n".join([_HEAD, *(_section(section) for section in sections())])


def _section(section: Section) -> str:
    lines = [f"## {section.title}", "", f"Written `{section.written}`.", ""]
    if not any(entry.facts for entry in section.entries):
        lines += ["| name | what it is |", "| --- | --- |"]
        cells = [(e.name, _plain(e.formula).replace("|", "\\|")) for e in section.entries]
        return "\n".join([*lines, *(f"| `{name}` | {text} |" for name, text in cells), ""])
    for entry in section.entries:
        lines.append(f"- **`{entry.name}`**: {_plain(entry.formula)}")
        lines += [f"  - {label}: {_plain(text)}" for label, text in entry.facts]
    return "\n".join([*lines, ""])


def _plain(text: str) -> str:
    """Text of which Markdown makes nothing else."""
    return text.replace("*", "\\*").replace("_", "\\_")
