-- See 0001_log.up.
select set_config('search_path', quote_ident(current_schema()) || ', pg_temp', false);
update meta set schema_version = 2;
drop view view_outbox, view_rooms, view_nodes;
-- With the triggers on the application's tables.
drop function emit_statement, emit_row cascade;
drop function outbox_waiting, allow_emit, allow_read, attach_trigger, detach_trigger,
    watched_table, trigger_failed, change_event, fill_room, outbox_slot_now, outbox_caller, advance_outbox_sequence, packet_head, seen_after, snapshot_token, emit, emit_to, emit_all, emit_many, emit_packet, emit_event,
    join_room, leave_room, disconnect, operate, allow_operate, put_packet, check_placeholders, has_placeholder, check_audience, check_room, use_key, check_event, wire_name, rotate_outbox, relay_outbox, relay_pending, outbox_due;

create or replace function append(
    origin bigint, seq bigint, packets int, frame bytea, notify boolean, local_only boolean default false, after bigint default 0,
    sealed bytea default null,
    out batch bigint, out ids bigint[], out origins bigint[], out seqs bigint[], out counts int[], out frames bytea[])
language plpgsql volatile
set search_path from current
set lock_timeout = 0
as $$
declare
    slot_now smallint;
    key      bytea;
begin
    -- With one snapshot for the whole transaction what others append while this one waits
    -- for the lock could not be seen.
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception 'the log is appended to at isolation level read committed, not %', current_setting('transaction_isolation')
            using errcode = 'PS002', hint = 'alter role ... set default_transaction_isolation = ''read committed''';
    end if;

    -- Lock 1 of the schema, the append lock. Before everything else: the order
    -- of the ids is the order in which it was held.
    lock table append_lock in share update exclusive mode;

    -- Its publisher gave this statement up long ago and may have sent the batch
    -- again; the log may even have trimmed that one.
    if clock_timestamp() - statement_timestamp() > interval '1 minute' then
        raise exception 'waited too long for the append lock' using errcode = 'lock_not_available';
    end if;

    select l.id into batch from log l where l.origin = append.origin and l.seq = append.seq;
    if found then
        return;
    end if;

    select m.slot, m.notification_key into slot_now, key from meta m;
    if not found then
        perform meta_lost();
    end if;
    perform advance_log_sequence();
    batch := nextval('log_id_seq');
    insert into log (id, origin, seq, packets, slot, frame)
    values (batch, append.origin, append.seq, append.packets, slot_now, append.frame);

    if notify and not local_only then
        perform pg_notify(current_schema(), notification(key, batch, append.origin, append.seq, append.sealed));
    elsif batch - after <= 16 then
        select array_agg(l.id order by l.id), array_agg(l.origin order by l.id), array_agg(l.seq order by l.id),
               array_agg(l.packets order by l.id), array_agg(case when l.id > after then l.frame end order by l.id)
        into ids, origins, seqs, counts, frames
        from log l where l.id >= append.after and l.id < batch
        having coalesce(sum(octet_length(l.frame)) filter (where l.id > after), 0) <= 65536;
    end if;
end
$$;

create or replace function empty_slot(retention interval) returns boolean
language plpgsql volatile
set search_path from current
set lock_timeout = '100ms'
as $$
declare
    next   text;
    newest bigint;
begin
    -- Lock 2 of the schema, the sweep, is the row of meta: before any lock on a
    -- partition.
    perform from meta for update skip locked;
    if not found then
        return false;
    end if;
    select 'log_' || (m.slot + 1) % 3 into next from meta m
    where clock_timestamp() - m.slot_started >= retention / 2;
    if not found then
        return false;
    end if;
    execute format('select l.id * 4096 + l.packets - 1 from %I l order by l.id desc limit 1', next) into newest;
    if newest is null then
        return true;
    end if;

    -- Whoever waits for this lock makes every reader wait behind it, so it is
    -- first tried without waiting.
    for attempt in 1..20 loop
        begin
            execute format('lock table only %I in access exclusive mode nowait', next);
            exit;
        exception when lock_not_available then
            perform pg_sleep(0.005);
        end;
    end loop;
    execute format('lock table only %I in access exclusive mode', next);
    update meta set low = greatest(low, newest);
    execute format('truncate only %I', next);
    return true;
end
$$;

drop function pending, relayed_here, relayed, server_identity;
alter table sessions drop column seen;
drop table outbox, emit_keys;
drop sequence outbox_id_seq;
drop index log_relayed;
alter table log
    drop column snapshot,
    drop column relayed_last,
    drop column relayed_old,
    drop column relayed_on,
    drop column cut_xid,
    drop column cut_id,
    drop column xids,
    drop column sizes;
alter table meta
    drop column outbox_started,
    drop column outbox_slot,
    drop column outbox_limit,
    drop column keys_at,
    drop column keys_seen,
    drop column relayed,
    drop column relayed_id,
    drop column relayed_last,
    drop column relayed_old,
    drop column relayed_on,
    drop column cut_xid,
    drop column cut_id;
