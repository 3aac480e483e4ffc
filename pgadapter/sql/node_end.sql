-- A node ends its life, or is found dead: if it still was last seen then ($3, if not
-- null). One statement: it holds the append lock, which is not to wait for a client.
-- False asks for another call.
select /*schema.*/end_node(n.id, $2)
from (select id from /*schema.*/nodes where id = $1 and extract(epoch from seen)::text = coalesce($3, extract(epoch from seen)::text) for update) n
