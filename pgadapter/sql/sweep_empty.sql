-- Empties the next partition of the log if it is time.
select /*schema.*/empty_slot($1 * interval '1 millisecond')
