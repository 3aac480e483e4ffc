-- Goes on to the next partition of the outbox if it is time.
select /*schema.*/rotate_outbox($1 * interval '1 millisecond')
