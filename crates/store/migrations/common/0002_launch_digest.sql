-- The request that a ClientToken stands for: the same token with another request is refused.
ALTER TABLE instances ADD COLUMN launch_digest TEXT;
