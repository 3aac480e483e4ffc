-- The rooms of sessions that are locked.
select pid, room, joined_at, coalesce(left_at, 0)
from /*schema.*/session_rooms
where pid = any($1::text[])
order by joined_at, room
