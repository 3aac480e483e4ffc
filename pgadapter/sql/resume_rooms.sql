-- The rooms of locked sessions.
select pid_hash, room, joined_at, left_at
from /*schema.*/session_rooms
where pid_hash = any($1::text[])
order by joined_at, room
