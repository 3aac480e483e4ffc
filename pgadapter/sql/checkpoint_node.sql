-- The rows of the checkpointed sessions of the node are complete up to here.
update /*schema.*/nodes set checkpoint = $2 where id = $1
