-- Ends a node, if it was last seen at $3 or $3 is null. One statement, because it holds the
-- append lock, which must not be held during a round trip. Returns false if another call
-- is needed.
select /*schema.*/end_node(n.id, $2)
from (select id from /*schema.*/nodes where id = $1 and extract(epoch from seen)::text = coalesce($3, extract(epoch from seen)::text) for update) n
