-- A user has stopped the instance (StopInstances): its host must not run it until a user starts it.
ALTER TABLE instances ADD COLUMN halted BIGINT NOT NULL DEFAULT 0;
