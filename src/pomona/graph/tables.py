"""The tables of a ledger. Stores outlive code: a change here needs a new FORMAT and a step in ``migrate``."""

FORMAT = 3  # raised by every change of the tables that older code cannot read

TABLES = """
CREATE TABLE states (
    key TEXT PRIMARY KEY, recipe TEXT NOT NULL, version INTEGER NOT NULL, params TEXT NOT NULL,
    how TEXT NOT NULL, status TEXT NOT NULL DEFAULT 'planned' CHECK (status IN ('planned','done','failed')),
    facts TEXT NOT NULL DEFAULT '{}', work_steps INTEGER NOT NULL DEFAULT 0, cost TEXT NOT NULL DEFAULT '',
    planned_at REAL NOT NULL, finished_at REAL, distance INTEGER NOT NULL DEFAULT 0);
CREATE INDEX states_recipe ON states (recipe, status);
CREATE TABLE parents (
    child TEXT NOT NULL, position INTEGER NOT NULL, parent TEXT NOT NULL, PRIMARY KEY (child, position));
CREATE INDEX parents_parent ON parents (parent);
CREATE TABLE outputs (
    state TEXT NOT NULL, name TEXT NOT NULL, digest TEXT NOT NULL, size_bytes INTEGER NOT NULL,
    tensors TEXT NOT NULL, dropped_at REAL, PRIMARY KEY (state, name));
CREATE INDEX outputs_digest ON outputs (digest);
CREATE TABLE probes (
    key TEXT PRIMARY KEY, name TEXT NOT NULL, version INTEGER NOT NULL, params TEXT NOT NULL,
    how TEXT NOT NULL, status TEXT NOT NULL DEFAULT 'planned' CHECK (status IN ('planned','done','failed')),
    finished_at REAL);
CREATE TABLE probe_states (
    probe TEXT NOT NULL, position INTEGER NOT NULL, state TEXT NOT NULL, PRIMARY KEY (probe, position));
CREATE INDEX probe_states_state ON probe_states (state);
CREATE TABLE measurements (
    probe TEXT NOT NULL, quantity TEXT NOT NULL, layer TEXT NOT NULL DEFAULT '',
    class INTEGER NOT NULL DEFAULT -1, value REAL, PRIMARY KEY (probe, quantity, layer, class)) WITHOUT ROWID;
CREATE TABLE environments (digest TEXT PRIMARY KEY, document TEXT NOT NULL);
CREATE TABLE runs (
    id INTEGER PRIMARY KEY, study TEXT NOT NULL, document TEXT NOT NULL, environment TEXT NOT NULL,
    command TEXT NOT NULL, workers INTEGER NOT NULL, started_at REAL NOT NULL, ended_at REAL, outcome TEXT);
CREATE TABLE attempts (
    id INTEGER PRIMARY KEY, node TEXT NOT NULL, run INTEGER, worker TEXT NOT NULL, started_at REAL NOT NULL,
    seconds REAL NOT NULL, status TEXT NOT NULL, kind TEXT, reason TEXT, traceback TEXT,
    work_steps INTEGER NOT NULL DEFAULT 0, cost TEXT NOT NULL DEFAULT '');
CREATE INDEX attempts_node ON attempts (node);
CREATE INDEX attempts_cost ON attempts (cost, status);
CREATE TABLE labels (
    study TEXT NOT NULL, state TEXT NOT NULL, step TEXT NOT NULL, replicate INTEGER NOT NULL,
    level INTEGER NOT NULL, arm TEXT NOT NULL, PRIMARY KEY (study, state, step, replicate, level, arm));
CREATE INDEX labels_state ON labels (state);
"""

NEW_IN_2 = """
CREATE INDEX measurements_quantity ON measurements (quantity, layer, class, value);
CREATE TABLE owners (
    id INTEGER PRIMARY KEY, run INTEGER, pid INTEGER NOT NULL,
    started_at REAL NOT NULL, beat_at REAL NOT NULL);
CREATE TABLE leases (
    node TEXT PRIMARY KEY, owner INTEGER NOT NULL, worker TEXT NOT NULL,
    taken_at REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE tags (state TEXT NOT NULL, tag TEXT NOT NULL, PRIMARY KEY (state, tag)) WITHOUT ROWID;
CREATE INDEX tags_tag ON tags (tag);
CREATE TABLE notes (
    id INTEGER PRIMARY KEY, state TEXT NOT NULL, written_at REAL NOT NULL, text TEXT NOT NULL);
CREATE INDEX notes_state ON notes (state);
CREATE TABLE events (
    id INTEGER PRIMARY KEY, run INTEGER, at REAL NOT NULL, kind TEXT NOT NULL, node TEXT, text TEXT NOT NULL);
CREATE TABLE sources (digest TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID;
"""

NEW_IN_3 = """
CREATE TABLE chain (
    number INTEGER PRIMARY KEY, at REAL NOT NULL, kind TEXT NOT NULL, subject TEXT NOT NULL,
    content TEXT NOT NULL, link TEXT NOT NULL);
CREATE INDEX chain_subject ON chain (subject);
CREATE TABLE blindings (
    registration TEXT PRIMARY KEY, study TEXT NOT NULL, factors TEXT NOT NULL, salt TEXT NOT NULL,
    commitment TEXT NOT NULL, revealed_at REAL);
"""

TABLES += NEW_IN_2 + NEW_IN_3
