-- What a security group rule is for, in its author's words. NULL: nothing was said.
ALTER TABLE security_group_rules ADD COLUMN description TEXT;
