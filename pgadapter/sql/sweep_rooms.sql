-- Stays in rooms that ended before anything that can still be replayed.
delete from /*schema.*/session_rooms r using /*schema.*/meta m where r.left_at <= m.low
