BEGIN TRANSACTION;
CREATE TABLE attempts (
    id INTEGER PRIMARY KEY, node TEXT NOT NULL, run INTEGER, worker TEXT NOT NULL, started_at REAL NOT NULL,
    seconds REAL NOT NULL, status TEXT NOT NULL, kind TEXT, reason TEXT, traceback TEXT,
    work_steps INTEGER NOT NULL DEFAULT 0, cost TEXT NOT NULL DEFAULT '');
INSERT INTO "attempts" VALUES(1,'bd989b9655cd2f49dda9ad7e44475cb195e2a9ddb87cf684f50534b6629f5412',1,'0',1.79528665731787347788e+09,1.712322235107421875e-03,'done',NULL,NULL,NULL,0,'add');
INSERT INTO "attempts" VALUES(2,'bdea5486b78625fc4c44740268153e1c431db843b99ef73d465aad951fa5ea9e',1,'0',1.79528665732031440741e+09,2.4430751800537109375e-03,'done',NULL,NULL,NULL,3,'train');
INSERT INTO "attempts" VALUES(3,'5b4467545ede9cbcb039655b5d5dd8d920cd96542b882f89ebda69acade0a812',1,'0',1.79528665732334351537e+09,1.2495517730712890625e-03,'done',NULL,NULL,NULL,0,'add');
INSERT INTO "attempts" VALUES(4,'3ed6f384d5e9f0130d4a8e235660d8eb68fd86ff5853b72fb5c0034ef703faab',1,'0',1.79528665732516860961e+09,1.2934207916259765625e-03,'done',NULL,NULL,NULL,0,'add');
INSERT INTO "attempts" VALUES(5,'70ac895e479f77a509920180e718e2632e7d9eee0fd22b0c2c4761f6967e1c65',1,'0',1.79528665732698082925e+09,2.381801605224609375e-04,'failed','diverged','it diverged at step 3','',0,'fail');
INSERT INTO "attempts" VALUES(6,'cfbc570f6aedcf52df485a7f06eb0581aca698d49f83bd2de7a839a39d0674b7',1,'0',1.79528665732769656185e+09,5.137920379638671875e-04,'done',NULL,NULL,NULL,0,'');
INSERT INTO "attempts" VALUES(7,'f9ef3ea40ae864d2806c9365df3c1e1e861481b138eec5edc0f7b461ee8f2415',1,'0',1.79528665732869291307e+09,5.238056182861328125e-04,'done',NULL,NULL,NULL,0,'');
CREATE TABLE environments (digest TEXT PRIMARY KEY, document TEXT NOT NULL);
INSERT INTO "environments" VALUES('eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee','{}');
CREATE TABLE events (
    id INTEGER PRIMARY KEY, run INTEGER, at REAL NOT NULL, kind TEXT NOT NULL, node TEXT, text TEXT NOT NULL);
CREATE TABLE labels (
    study TEXT NOT NULL, state TEXT NOT NULL, step TEXT NOT NULL, replicate INTEGER NOT NULL,
    level INTEGER NOT NULL, arm TEXT NOT NULL, PRIMARY KEY (study, state, step, replicate, level, arm));
INSERT INTO "labels" VALUES('toy','bdea5486b78625fc4c44740268153e1c431db843b99ef73d465aad951fa5ea9e','dense',0,0,'{"method":"m"}');
CREATE TABLE leases (
    node TEXT PRIMARY KEY, owner INTEGER NOT NULL, worker TEXT NOT NULL,
    taken_at REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE measurements (
    probe TEXT NOT NULL, quantity TEXT NOT NULL, layer TEXT NOT NULL DEFAULT '',
    class INTEGER NOT NULL DEFAULT -1, value REAL, PRIMARY KEY (probe, quantity, layer, class)) WITHOUT ROWID;
INSERT INTO "measurements" VALUES('f9ef3ea40ae864d2806c9365df3c1e1e861481b138eec5edc0f7b461ee8f2415','mean','',0,1.00000000000000019428e-01);
INSERT INTO "measurements" VALUES('cfbc570f6aedcf52df485a7f06eb0581aca698d49f83bd2de7a839a39d0674b7','mean','',0,2.1);
INSERT INTO "measurements" VALUES('f9ef3ea40ae864d2806c9365df3c1e1e861481b138eec5edc0f7b461ee8f2415','mean','',1,1.1);
INSERT INTO "measurements" VALUES('cfbc570f6aedcf52df485a7f06eb0581aca698d49f83bd2de7a839a39d0674b7','mean','',1,3.6);
INSERT INTO "measurements" VALUES('f9ef3ea40ae864d2806c9365df3c1e1e861481b138eec5edc0f7b461ee8f2415','mean','',2,3.6);
INSERT INTO "measurements" VALUES('cfbc570f6aedcf52df485a7f06eb0581aca698d49f83bd2de7a839a39d0674b7','none','fc',-1,NULL);
INSERT INTO "measurements" VALUES('f9ef3ea40ae864d2806c9365df3c1e1e861481b138eec5edc0f7b461ee8f2415','none','fc',-1,NULL);
CREATE TABLE notes (
    id INTEGER PRIMARY KEY, state TEXT NOT NULL, written_at REAL NOT NULL, text TEXT NOT NULL);
CREATE TABLE outputs (
    state TEXT NOT NULL, name TEXT NOT NULL, digest TEXT NOT NULL, size_bytes INTEGER NOT NULL,
    tensors TEXT NOT NULL, dropped_at REAL, PRIMARY KEY (state, name));
INSERT INTO "outputs" VALUES('bd989b9655cd2f49dda9ad7e44475cb195e2a9ddb87cf684f50534b6629f5412','weights','041bf7722502e6a240c01dfe97ae9930b42aed800a84a4e4af70e8e193e73b78',120,'{"w":"c0dae5ee2ba8a67ea0a53653c87ef73dba9d5a0351a16b358d58dcd95180e8e9"}',NULL);
INSERT INTO "outputs" VALUES('a66cfcc90cec12d57365d4ef77be1e5cbb79b5a0e676a9e69b53679a97165f13','weights','ddc6e38ab5cef601b348bfd57e7c82f0b2d652c2318708eca37df2c59a4046f1',120,'{"w":"d8cb52149150168eda7d873b930123343fd94212262690f9561ff3aaa0682620"}',NULL);
INSERT INTO "outputs" VALUES('bdea5486b78625fc4c44740268153e1c431db843b99ef73d465aad951fa5ea9e','weights','36082f912b243fe8561b04e256d2a0e67a4bac1ef691e392544df8091a0ae952',120,'{"w":"59a6115f5260e0738fc2daef9222ffd9ce6ac49fde07f1714a67f56a95dea924"}',NULL);
INSERT INTO "outputs" VALUES('5b4467545ede9cbcb039655b5d5dd8d920cd96542b882f89ebda69acade0a812','weights','ce1042d194befb7062e886a8750a4254e55af8f5a9342bdf91e9f6ac23609dc3',120,'{"w":"24f2a8438659c552f8e836605052c4777f0608f713ee4b285ecbf5b6bbe4ecc6"}',1.79528665733039522172e+09);
INSERT INTO "outputs" VALUES('3ed6f384d5e9f0130d4a8e235660d8eb68fd86ff5853b72fb5c0034ef703faab','weights','3021f48e34cb8192af1b313d412ffedeb3cb5758b05624e6bc0b9aef629020cc',120,'{"w":"2aca1a82c989556032a6559a57fc0d36e1f1932f04c27dbf02e66490776dabe8"}',NULL);
CREATE TABLE owners (
    id INTEGER PRIMARY KEY, run INTEGER, pid INTEGER NOT NULL,
    started_at REAL NOT NULL, beat_at REAL NOT NULL);
CREATE TABLE parents (
    child TEXT NOT NULL, position INTEGER NOT NULL, parent TEXT NOT NULL, PRIMARY KEY (child, position));
INSERT INTO "parents" VALUES('5b4467545ede9cbcb039655b5d5dd8d920cd96542b882f89ebda69acade0a812',0,'bd989b9655cd2f49dda9ad7e44475cb195e2a9ddb87cf684f50534b6629f5412');
INSERT INTO "parents" VALUES('3ed6f384d5e9f0130d4a8e235660d8eb68fd86ff5853b72fb5c0034ef703faab',0,'5b4467545ede9cbcb039655b5d5dd8d920cd96542b882f89ebda69acade0a812');
INSERT INTO "parents" VALUES('bdea5486b78625fc4c44740268153e1c431db843b99ef73d465aad951fa5ea9e',0,'bd989b9655cd2f49dda9ad7e44475cb195e2a9ddb87cf684f50534b6629f5412');
INSERT INTO "parents" VALUES('a66cfcc90cec12d57365d4ef77be1e5cbb79b5a0e676a9e69b53679a97165f13',0,'bdea5486b78625fc4c44740268153e1c431db843b99ef73d465aad951fa5ea9e');
INSERT INTO "parents" VALUES('70ac895e479f77a509920180e718e2632e7d9eee0fd22b0c2c4761f6967e1c65',0,'bd989b9655cd2f49dda9ad7e44475cb195e2a9ddb87cf684f50534b6629f5412');
INSERT INTO "parents" VALUES('33c8d5a28c54d3594f65f8bd9d2f7d04748d84548c4d6b44a3f32f2cf1a3ee81',0,'70ac895e479f77a509920180e718e2632e7d9eee0fd22b0c2c4761f6967e1c65');
CREATE TABLE probe_states (
    probe TEXT NOT NULL, position INTEGER NOT NULL, state TEXT NOT NULL, PRIMARY KEY (probe, position));
INSERT INTO "probe_states" VALUES('cfbc570f6aedcf52df485a7f06eb0581aca698d49f83bd2de7a839a39d0674b7',0,'a66cfcc90cec12d57365d4ef77be1e5cbb79b5a0e676a9e69b53679a97165f13');
INSERT INTO "probe_states" VALUES('cfbc570f6aedcf52df485a7f06eb0581aca698d49f83bd2de7a839a39d0674b7',1,'3ed6f384d5e9f0130d4a8e235660d8eb68fd86ff5853b72fb5c0034ef703faab');
INSERT INTO "probe_states" VALUES('f9ef3ea40ae864d2806c9365df3c1e1e861481b138eec5edc0f7b461ee8f2415',0,'bd989b9655cd2f49dda9ad7e44475cb195e2a9ddb87cf684f50534b6629f5412');
INSERT INTO "probe_states" VALUES('f9ef3ea40ae864d2806c9365df3c1e1e861481b138eec5edc0f7b461ee8f2415',1,'5b4467545ede9cbcb039655b5d5dd8d920cd96542b882f89ebda69acade0a812');
INSERT INTO "probe_states" VALUES('f9ef3ea40ae864d2806c9365df3c1e1e861481b138eec5edc0f7b461ee8f2415',2,'3ed6f384d5e9f0130d4a8e235660d8eb68fd86ff5853b72fb5c0034ef703faab');
CREATE TABLE probes (
    key TEXT PRIMARY KEY, name TEXT NOT NULL, version INTEGER NOT NULL, params TEXT NOT NULL,
    how TEXT NOT NULL, status TEXT NOT NULL DEFAULT 'planned' CHECK (status IN ('planned','done','failed')),
    finished_at REAL);
INSERT INTO "probes" VALUES('cfbc570f6aedcf52df485a7f06eb0581aca698d49f83bd2de7a839a39d0674b7','mean',1,'{}','{}','done',1.79528665732825541494e+09);
INSERT INTO "probes" VALUES('f9ef3ea40ae864d2806c9365df3c1e1e861481b138eec5edc0f7b461ee8f2415','mean',1,'{}','{}','done',1.79528665732924127577e+09);
CREATE TABLE runs (
    id INTEGER PRIMARY KEY, study TEXT NOT NULL, document TEXT NOT NULL, environment TEXT NOT NULL,
    command TEXT NOT NULL, workers INTEGER NOT NULL, started_at REAL NOT NULL, ended_at REAL, outcome TEXT);
INSERT INTO "runs" VALUES(1,'toy','','eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee','test',0,1.79528665731190776831e+09,NULL,NULL);
CREATE TABLE sources (digest TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE states (
    key TEXT PRIMARY KEY, recipe TEXT NOT NULL, version INTEGER NOT NULL, params TEXT NOT NULL,
    how TEXT NOT NULL, status TEXT NOT NULL DEFAULT 'planned' CHECK (status IN ('planned','done','failed')),
    facts TEXT NOT NULL DEFAULT '{}', work_steps INTEGER NOT NULL DEFAULT 0, cost TEXT NOT NULL DEFAULT '',
    planned_at REAL NOT NULL, finished_at REAL, distance INTEGER NOT NULL DEFAULT 0);
INSERT INTO "states" VALUES('bd989b9655cd2f49dda9ad7e44475cb195e2a9ddb87cf684f50534b6629f5412','add',1,'{"value":0.1}','{"not":"in the key"}','done','{"value":0.1}',0,'add',1.79528665731118798254e+09,1.7952866573196401596e+09,0);
INSERT INTO "states" VALUES('5b4467545ede9cbcb039655b5d5dd8d920cd96542b882f89ebda69acade0a812','add',1,'{"value":1}','{"not":"in the key"}','done','{"value":1}',0,'add',1.79528665731118798254e+09,1.79528665732463097578e+09,1);
INSERT INTO "states" VALUES('3ed6f384d5e9f0130d4a8e235660d8eb68fd86ff5853b72fb5c0034ef703faab','add',1,'{"value":2.5}','{"not":"in the key"}','done','{"value":2.5}',0,'add',1.79528665731118798254e+09,1.79528665732649898531e+09,2);
INSERT INTO "states" VALUES('bdea5486b78625fc4c44740268153e1c431db843b99ef73d465aad951fa5ea9e','train',1,'{"steps":3}','{"not":"in the key"}','done','{"steps":3}',3,'train',1.79528665731118798254e+09,1.7952866573228771687e+09,1);
INSERT INTO "states" VALUES('a66cfcc90cec12d57365d4ef77be1e5cbb79b5a0e676a9e69b53679a97165f13','snapshot',1,'{"at":{"$step":"2it"}}','{"not":"in the key"}','done','{}',0,'snapshot',1.79528665731118798254e+09,1.79528665732280850409e+09,2);
INSERT INTO "states" VALUES('70ac895e479f77a509920180e718e2632e7d9eee0fd22b0c2c4761f6967e1c65','fail',1,'{"kind":"diverged"}','{"not":"in the key"}','failed','{}',0,'fail',1.79528665731118798254e+09,NULL,1);
INSERT INTO "states" VALUES('33c8d5a28c54d3594f65f8bd9d2f7d04748d84548c4d6b44a3f32f2cf1a3ee81','add',1,'{"value":2}','{"not":"in the key"}','planned','{}',0,'add',1.79528665731118798254e+09,NULL,2);
CREATE TABLE tags (state TEXT NOT NULL, tag TEXT NOT NULL, PRIMARY KEY (state, tag)) WITHOUT ROWID;
CREATE INDEX states_recipe ON states (recipe, status);
CREATE INDEX parents_parent ON parents (parent);
CREATE INDEX outputs_digest ON outputs (digest);
CREATE INDEX probe_states_state ON probe_states (state);
CREATE INDEX attempts_node ON attempts (node);
CREATE INDEX attempts_cost ON attempts (cost, status);
CREATE INDEX labels_state ON labels (state);
CREATE INDEX measurements_quantity ON measurements (quantity, layer, class, value);
CREATE INDEX tags_tag ON tags (tag);
CREATE INDEX notes_state ON notes (state);
COMMIT;
