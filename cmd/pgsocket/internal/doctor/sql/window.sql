-- The longest recovery window of a session in microseconds, null without sessions.
select max(s.window_ms) * 1000 from /*schema.*/sessions s
