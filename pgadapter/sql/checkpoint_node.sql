-- Up to here nothing is missing in the settled sessions of the node.
update /*schema.*/nodes set checkpoint = $2 where id = $1
