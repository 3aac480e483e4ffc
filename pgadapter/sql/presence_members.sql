-- The members of a topic.
select p.sid, p.state::text
from /*schema.*/presence p
where p.namespace = $1 and p.event = $2 and p.room = $3
order by p.sid
