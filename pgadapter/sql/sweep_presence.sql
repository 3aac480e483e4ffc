-- Forgets topics without members.
select /*schema.*/forget_presence($1::bigint * interval '1 millisecond')
