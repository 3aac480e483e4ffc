-- What is in the tables: sessions, nodes, packets of the log and of the outbox, keys, answers; and the triggers on tables of the
-- application.
select (select count(*) from sessions),
       (select count(*) from nodes),
       (select coalesce(sum(l.packets), 0) from log l),
       (select coalesce(sum(o.packets), 0) from outbox o),
       (select count(*) from emit_keys),
       (select count(*) from answers),
       array(
           select t.tgname || ' on ' || t.tgrelid::pg_catalog.regclass
           from pg_catalog.pg_trigger t
           join pg_catalog.pg_proc p on p.oid = t.tgfoid
           where p.pronamespace = pg_catalog.current_schema()::pg_catalog.regnamespace and not t.tgisinternal and p.proname <> 'presence_changed'
           order by 1
       )
