-- Goes on to the next partition of the log if it is time.
select /*schema.*/switch_slot($1 * interval '1 millisecond')
