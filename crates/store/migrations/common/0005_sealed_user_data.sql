-- User data often holds passwords: it is sealed with the key file, as keys are. `user_data` keeps what
-- an earlier version wrote, until a server with the key file seals it.
ALTER TABLE instances ADD COLUMN user_data_sealed BYTEA;
