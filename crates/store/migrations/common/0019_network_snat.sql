-- Whether a network's host translates what leaves it to its own address.
ALTER TABLE networks ADD COLUMN snat BIGINT NOT NULL DEFAULT 1 CHECK (snat IN (0, 1));
