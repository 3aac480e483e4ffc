-- Deletes room intervals that ended before the low position, which no replay can need.
delete from /*schema.*/session_rooms r using /*schema.*/meta m where r.left_at <= m.low
