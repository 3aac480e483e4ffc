
SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

CREATE SCHEMA socketio;

CREATE FUNCTION socketio.advance_log_sequence() RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'socketio', 'pg_temp'
    AS $$
declare
    newest bigint;
begin
    select greatest(m.low / 4096, (select l.id from log l order by l.id desc limit 1)) into newest from meta m;
    if newest > coalesce(pg_sequence_last_value('log_id_seq'), 0) then
        raise warning 'the sequence of the log was behind its table and goes on after %', newest;
        perform set_sequence('log_id_seq', newest);
    end if;
end
$$;

CREATE FUNCTION socketio.advance_outbox_sequence() RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'socketio', 'pg_temp'
    AS $$
begin
    -- Strangers cannot take the append lock. Rolling back the subtransaction releases it; setval is not rolled back.
    lock table append_lock in share update exclusive mode;
    if pg_sequence_last_value('outbox_id_seq') is null then
        perform set_sequence('outbox_id_seq', (select m.relayed_last / 4294967296 * 4294967296 + 4294967296 from meta m));
    end if;
    raise exception 'set' using errcode = 'PS004';
exception when sqlstate 'PS004' then
    return;
end
$$;

CREATE FUNCTION socketio.allow_emit(role regrole) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'socketio', 'pg_temp'
    AS $$
begin
    perform require_owner('allow_emit');
    execute format('grant usage on schema %I to %s', current_schema(), role);
    execute format(
        'grant execute on function emit_event, emit, emit_to, emit_all, emit_many, emit_packet, snapshot_token,
             emit_statement, emit_row, claim_request, answer_request to %s', role);
end
$$;

CREATE FUNCTION socketio.allow_operate(role regrole) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'socketio', 'pg_temp'
    AS $$
begin
    perform require_owner('allow_operate');
    perform allow_emit(role);
    execute format('grant execute on function operate, join_room, leave_room, disconnect to %s', role);
end
$$;

CREATE FUNCTION socketio.allow_read(role regrole) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'socketio', 'pg_temp'
    AS $$
begin
    perform require_owner('allow_read');
    execute format('grant usage on schema %I to %s', current_schema(), role);
    execute format('grant select on view_nodes, view_rooms, view_outbox, view_sessions, view_presence, view_presence_rooms, view_packets, view_log to %s', role);
    execute format('grant execute on function outbox_waiting, frame_packets, name_text to %s', role);
end
$$;

CREATE FUNCTION socketio.announce_presence(min_ms integer, notify boolean, OUT announced integer, OUT due_ms integer) RETURNS record
    LANGUAGE plpgsql
    SET search_path TO 'socketio', 'pg_temp'
    SET lock_timeout TO '0'
    SET enable_seqscan TO 'off'
    SET enable_bitmapscan TO 'off'
    SET jit TO 'off'
    AS $$
declare
    frame  bytea;
    places tid[];
begin
    announced := 0;
    perform require_read_committed();
    due_ms := presence_due(min_ms);
    if due_ms > 0 or due_ms is null then
        return;
    end if;

    -- Lock 1 of the schema, the append lock. The statements behind it see all earlier announcements.
    lock table append_lock in share update exclusive mode;
    -- No joins but look-ups: estimates of the number of changes are always wrong.
    with read as materialized (
        select c.*, coalesce(t.version, m.presence_floor) as version,
               (t.announced_at is null or t.announced_at > clock_timestamp()
                or clock_timestamp() - t.announced_at >= min_ms * interval '1 millisecond') as due,
               row_number() over w as n, sum(octet_length(c.state::text)) over w as bytes
        from (select o.ctid as place, o.* from presence_changes o order by o.id limit 2000) c
        cross join meta m
        left join lateral ( -- a limit, so that each is looked up
            select o.version, o.announced_at from presence_topics o where o.namespace = c.namespace and o.event = c.event and o.room = c.room limit 1
        ) t on true
        window w as (order by c.id)
    ), taken as materialized (
        select * from read r where r.due and (r.n = 1 or coalesce(r.bytes, 0) <= 524288)
    ), net as (
        select t.namespace, t.event, t.room, t.sid, t.version,
               (array_agg(t.before order by t.id))[1] as before, (array_agg(t.state order by t.id desc))[1] as state
        from taken t
        group by t.namespace, t.event, t.room, t.sid, t.version
    ), changed as (
        select n.*, (row_number() over w - 1) / 500 as by_count, coalesce(sum(octet_length(n.state::text)) over w, 0) / 131072 as by_bytes
        from net n
        where n.before::text is distinct from n.state::text
        window w as (partition by n.namespace, n.event, n.room order by n.sid)
    ), parts as (
        select c.namespace, c.event, c.room, c.version as last, c.by_count, c.by_bytes,
               string_agg('{"id":' || to_json(c.sid) || ',"state":' || c.state || '}', ',' order by c.sid) filter (where c.before is null) as entered,
               string_agg('{"id":' || to_json(c.sid) || ',"state":' || c.state || '}', ',' order by c.sid) filter (where c.before is not null and c.state is not null) as updated,
               string_agg(to_json(c.sid)::text, ',' order by c.sid) filter (where c.state is null) as gone
        from changed c
        group by c.namespace, c.event, c.room, c.version, c.by_count, c.by_bytes
    ), events as (
        select p.*, p.last + row_number() over (partition by p.namespace, p.event, p.room order by p.by_count, p.by_bytes) as version
        from parts p
    ), versions as (
        insert into presence_topics (namespace, event, room, version, announced_at)
        select e.namespace, e.event, e.room, max(e.version), clock_timestamp()
        from events e
        group by e.namespace, e.event, e.room
        on conflict (namespace, event, room) do update set version = excluded.version, announced_at = excluded.announced_at
    ), packets as (
        -- The name of the room of the watchers is that of adapter.WatchRequest.
        select e.namespace, e.event, e.room, e.version,
               wire_name(e.namespace) || int2send(1::int2) || wire_name(chr(31) || e.event || chr(31) || e.room) || int2send(0::int2)
               || int4send(octet_length(b.body)) || b.body || int2send(0::int2) as packet
        from events e
        cross join lateral (
            select convert_to(concat('[', to_json(e.event), ',{"room":', to_json(e.room), ',"version":', e.version,
                ',"entered":[' || e.entered || ']', ',"updated":[' || e.updated || ']', ',"left":[' || e.gone || ']', '}]'), 'UTF8')
        ) b (body)
    )
    select count(*), string_agg(packet_head(0, octet_length(p.packet)) || p.packet, ''::bytea order by p.namespace, p.event, p.room, p.version),
           (select array_agg(t.place) from taken t)
    into announced, frame, places
    from packets p;
    perform delete_presence_changes(places);
    if announced > 0 then
        perform append(-2, ('x' || left(translate(gen_random_uuid()::text, '-', ''), 16))::bit(64)::bigint, announced,
            substr(int2send(1::int2), 2) || frame, notify);
    end if;
    due_ms := presence_due(min_ms);
end
$$;

CREATE FUNCTION socketio.answer_request(request bytea, answer bytea, keep_ms bigint) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'socketio', 'pg_temp'
    AS $$
begin
    update answers a
    set answer = answer_request.answer, expires_at = clock_timestamp() + keep_ms * interval '1 millisecond'
    where a.request = answer_request.request and a.xid = pg_current_xact_id();
    return found;
end
$$;

CREATE FUNCTION socketio.append(origin bigint, seq bigint, packets integer, frame bytea, notify boolean, local_only boolean DEFAULT false, after bigint DEFAULT 0, sealed bytea DEFAULT NULL::bytea, OUT batch bigint, OUT ids bigint[], OUT origins bigint[], OUT seqs bigint[], OUT counts integer[], OUT frames bytea[], OUT names bytea[]) RETURNS record
    LANGUAGE plpgsql
    SET search_path TO 'socketio', 'pg_temp'
    SET lock_timeout TO '0'
    AS $$
declare
    slot_now smallint;
    key      bytea;
begin
    perform require_read_committed();

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

    if pg_sequence_last_value('outbox_id_seq') is not null then
        begin
            perform relay_pending(1024, 1048576, true, notify);
        exception when others then -- the batch is none the worse for it
            raise warning 'outbox not relayed: %', sqlerrm;
        end;
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
               array_agg(l.packets order by l.id), array_agg(case when l.id > after then l.frame end order by l.id),
               array_agg(l.names order by l.id)
        into ids, origins, seqs, counts, frames, names
        from log l where l.id >= append.after and l.id < batch
        having coalesce(sum(octet_length(l.frame)) filter (where l.id > after), 0) <= 65536;
    end if;
end
$$;

CREATE FUNCTION socketio.attach_trigger(target regclass, room text, event text DEFAULT NULL::text, columns text[] DEFAULT '{}'::text[], operations text[] DEFAULT '{insert,update,delete}'::text[], namespace text DEFAULT '/'::text, old_values boolean DEFAULT true, max_bytes integer DEFAULT 65536, per_row boolean DEFAULT false, replicated boolean DEFAULT false, notify boolean DEFAULT false, on_error text DEFAULT 'warn'::text) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'socketio', 'pg_temp'
    AS $$
declare
    relation text;
    template text[] := regexp_split_to_array(room, '[{}]');
    named    text[];
    numbers  int[];
    op       text;
    name     text;
    missing  text;
    virtual  text;
begin
    select format('%s.%s', n.nspname, c.relname) into relation
    from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = target;
    event := coalesce(event, (select relname from pg_class where oid = target));
    if cardinality(template) % 2 = 0 or room is null or room ~ '[{][^}]*[{]' then
        raise exception 'malformed template for a room: %', quote_nullable(room) using errcode = 'invalid_parameter_value', hint = 'For example: orders:{customer_id}';
    end if;
    named := array(select template[2 * i] from generate_series(1, cardinality(template) / 2) i order by i) || coalesce(columns, '{}');
    select array_agg(a.attnum::int order by u.i), string_agg(distinct quote_ident(u.c), ', ') filter (where a.attnum is null),
           string_agg(distinct quote_ident(u.c), ', ') filter (where a.attgenerated = 'v')
    into numbers, missing, virtual
    from unnest(named) with ordinality u (c, i)
    left join pg_attribute a on a.attrelid = target and a.attname = u.c and a.attnum > 0 and not a.attisdropped;
    if missing is not null then
        raise exception 'table % has no column %', relation, missing using errcode = 'undefined_column';
    elsif virtual is not null then
        raise exception 'column % of table % is generated when it is read: a trigger does not see its value', virtual, relation
            using errcode = 'feature_not_supported', hint = 'Generate it as stored, or name the columns that it is made of.';
    elsif operations is null or operations = '{}' or not operations <@ '{insert,update,delete}' then
        raise exception 'operations are some of insert, update, delete' using errcode = 'invalid_parameter_value';
    elsif max_bytes is null or max_bytes not between 100 and 1000000 then
        raise exception 'max_bytes is between 100 and 1000000' using errcode = 'invalid_parameter_value';
    elsif on_error is null or on_error not in ('warn', 'fail') then
        raise exception 'on_error is warn or fail' using errcode = 'invalid_parameter_value';
    end if;

    perform detach_trigger(target, event);
    for op in select distinct o from unnest(operations) o loop
        name := 'socketio_' || op || '_' || left(encode(sha256(convert_to(current_schema() || ' ' || event, 'UTF8')), 'hex'), 16);
        execute format('create trigger %I after %s on %s %s execute function %I.%I(%L, %L, %L, %L, %L, %L, %L, %L, %L, %L)',
            name, op, target,
            case when per_row then 'for each row'
                 when op = 'insert' then 'referencing new table as new_rows for each statement'
                 when op = 'delete' then 'referencing old table as old_rows for each statement'
                 else 'referencing old table as old_rows new table as new_rows for each statement' end,
            current_schema(),
            case when per_row then 'emit_row' else 'emit_statement' end,
            event, namespace, target::oid, template, coalesce(columns, '{}'), coalesce(numbers, '{}'), max_bytes, old_values, notify, on_error);
        if replicated then
            execute format('alter table %s enable always trigger %I', target, name);
        end if;
    end loop;
end
$$;

CREATE FUNCTION socketio.change_batches(events refcursor, OUT rooms text[], OUT payloads jsonb[], OUT others text[]) RETURNS SETOF record
    LANGUAGE plpgsql
    AS $$
declare
    c     record;
    bytes bigint := 0;
begin
    loop
        fetch events into c;
        exit when not found;
        continue when c.room is null;
        rooms := rooms || c.room;
        payloads := payloads || c.payload;
        others := others || c.other_room;
        bytes := bytes + c.size;
        if bytes > 1048576 or cardinality(rooms) >= 1000 then
            return next;
            rooms := null;
            payloads := null;
            others := null;
            bytes := 0;
        end if;
    end loop;
    if rooms is not null then
        return next;
    end if;
end
$$;

CREATE FUNCTION socketio.change_event(relation text, template text[], columns text[], keys text[], most integer, with_old boolean, new jsonb, old jsonb, OUT room text, OUT other_room text, OUT payload jsonb, OUT size integer) RETURNS record
    LANGUAGE plpgsql IMMUTABLE
    AS $$
declare
    op      text  := case when old is null then 'insert' when new is null then 'delete' else 'update' end;
    named   jsonb := coalesce(new, old);
    old_row jsonb := old;
begin
    room := fill_room(template, named);
    if op = 'update' then
        other_room := fill_room(template, old);
        if room is null then
            room := other_room;
            other_room := null;
        end if;
    end if;
    if room is null then
        return;
    end if;
    if columns <> '{}' then
        new := case when new is not null then (select jsonb_object_agg(c, new -> c) from unnest(columns) c) end;
        old_row := case when old is not null then (select jsonb_object_agg(c, old -> c) from unnest(columns) c) end;
    end if;
    if op = 'update' and new = old_row and room is not distinct from coalesce(other_room, room) then
        room := null;
        return;
    end if;
    payload := jsonb_build_object('op', op, 'table', relation)
        || case when new is null then '{}' else jsonb_build_object('new', new) end
        || case when old_row is null or not with_old then '{}' else jsonb_build_object('old', old_row) end;
    size := octet_length(payload::text);
    if size > most then
        payload := jsonb_build_object('op', op, 'table', relation, 'oversized', size)
            || case when keys = '{}' then '{}'
                    else jsonb_build_object('key', (select jsonb_object_agg(c, named -> c) from unnest(keys) c)) end;
    end if;
end
$$;

CREATE FUNCTION socketio.check_audience(everybody boolean, rooms text[], namespace text, except_rooms text[], key text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'socketio', 'pg_temp'
    AS $$
declare
    name text;
begin
    if not everybody and (rooms is null or array_position(rooms, null) is not null) then
        raise exception 'a room is null' using errcode = 'null_value_not_allowed', hint = 'emit_all emits to everybody.';
    end if;
    if cardinality(rooms) > 10000 or cardinality(except_rooms) > 10000 then
        raise exception 'more than 10000 rooms' using errcode = 'program_limit_exceeded';
    end if;
    foreach name in array coalesce(rooms || except_rooms, '{}') loop
        perform check_room(name);
    end loop;
    if namespace is null or octet_length(namespace) > 1000 then
        raise exception 'invalid namespace' using errcode = 'invalid_parameter_value';
    end if;
    if octet_length(key) not between 1 and 255 then
        raise exception 'a key has 1 to 255 bytes' using errcode = 'invalid_parameter_value';
    end if;
    return case when namespace like '/%' then namespace else '/' || namespace end;
end
$$;

CREATE FUNCTION socketio.check_event(event text) RETURNS void
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'socketio', 'pg_temp'
    AS $$
begin
    if event is null or event = ''
       or event in ('connect', 'connect_error', 'disconnect', 'disconnecting', 'newListener', 'removeListener') then
        raise exception 'an event cannot have the name %', quote_nullable(event) using errcode = 'invalid_parameter_value';
    end if;
end
$$;

CREATE FUNCTION socketio.check_fence(node bigint, batch bigint, origin bigint, seq bigint) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'socketio', 'pg_temp'
    AS $$
begin
    perform from nodes n where n.id = check_fence.node and not n.ended for key share;
    if not found then
        raise exception 'node % is not in the cluster', node using errcode = 'no_data_found';
    end if;
    perform from log l where l.id = check_fence.batch and l.origin = check_fence.origin and l.seq = check_fence.seq;
    if not found and check_fence.batch > (select m.low / 4096 from meta m) then
        raise exception 'the log has lost batch %', batch using errcode = 'PS001';
    end if;
end
$$;

CREATE FUNCTION socketio.check_mark(node bigint) RETURNS void
    LANGUAGE plpgsql STABLE
    SET search_path TO 'socketio', 'pg_temp'
    AS $$
begin
    perform from node_marks m where m.id = check_mark.node;
    if not found then
        raise exception 'Postgres has crashed, or is another server' using errcode = 'PS005';
    end if;
end
$$;

CREATE FUNCTION socketio.check_placeholders(args text, attachments integer) RETURNS void
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'socketio', 'pg_temp'
    AS $$
declare
    place text;
    rest  text := args;
    one   int;
    bad   boolean := false;
begin
    for i in 0..attachments - 1 loop
        place := '{"_placeholder":true,"num":' || i || '}';
        one := length(rest) - length(place) + 4;
        rest := replace(rest, place, 'null');
        bad := bad or length(rest) <> one;
    end loop;
    if bad or attachments > 0 and has_placeholder(rest::jsonb) then
        raise exception 'each attachment has exactly one placeholder, and nothing else looks like one' using errcode = 'invalid_parameter_value';
    end if;
end
$$;

CREATE FUNCTION socketio.check_room(name text) RETURNS void
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'socketio', 'pg_temp'
    AS $$
begin
    if name is null or octet_length(name) not between 1 and 255 then
        raise exception 'a room cannot have the name %', quote_nullable(name) using errcode = 'invalid_parameter_value', hint = 'A name has 1 to 255 bytes.';
    end if;
end
$$;

CREATE FUNCTION socketio.claim_request(request bytea, content bytea, keep_ms bigint, idle_ms bigint, OUT claimed boolean, OUT same boolean, OUT answer bytea) RETURNS record
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'socketio', 'pg_temp'
    AS $$
declare
    caller constant text := outbox_caller();
    most   constant bigint := (select m.outbox_limit from meta m);
    idle   interval := current_setting('idle_in_transaction_session_timeout')::interval;
begin
    if most is null then
        perform meta_lost();
    end if;
    if caller <> current_user and pg_table_size('answers'::regclass) > most then
        perform refuse_full(caller, 'table answers', most);
    end if;
    if idle = interval '0' or idle > idle_ms * interval '1 millisecond' then
        perform set_config('idle_in_transaction_session_timeout', idle_ms::text, true);
    end if;
    insert into answers as a (role, request, content, expires_at)
    values (caller, claim_request.request, claim_request.content, clock_timestamp() + keep_ms * interval '1 millisecond')
    on conflict on constraint answers_pkey do update
    set content = excluded.content, expires_at = excluded.expires_at, xid = excluded.xid, answer = null
    where a.expires_at <= clock_timestamp();
    claimed := found;
    if not claimed then
        -- The statement above has locked the row.
        select a.content = claim_request.content, a.answer into same, claim_request.answer
        from answers a where a.request = claim_request.request and a.role = caller;
    end if;
end
$$;

CREATE FUNCTION socketio.delete_presence_changes(places tid[]) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'socketio', 'pg_temp'
    SET enable_seqscan TO 'off'
    SET enable_indexscan TO 'off'
    SET enable_indexonlyscan TO 'off'
    SET enable_bitmapscan TO 'off'
    SET jit TO 'off'
    AS $$
begin
    delete from presence_changes c where c.ctid = any (places);
end
$$;

CREATE FUNCTION socketio.detach_trigger(target regclass, event text DEFAULT NULL::text) RETURNS boolean
    LANGUAGE plpgsql
    SET search_path TO 'socketio', 'pg_temp'
    AS $$
declare
    t     record;
    found boolean := false;
begin
    for t in
        select g.tgname from pg_trigger g join pg_proc f on f.oid = g.tgfoid
        where g.tgrelid = target and not g.tgisinternal and g.tgparentid = 0
          and f.pronamespace = quote_ident(current_schema())::regnamespace
          and f.proname in ('emit_statement', 'emit_row')
          and (event is null or g.tgname like 'socketio\_%\_' || left(encode(sha256(convert_to(current_schema() || ' ' || event, 'UTF8')), 'hex'), 16))
    loop
        execute format('drop trigger %I on %s', t.tgname, target);
        found := true;
    end loop;
    return found;
end
$$;

CREATE FUNCTION socketio.operate(kind integer, target text, room text, namespace text, except_rooms text[], key text, notify boolean) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'socketio', 'pg_temp'
    AS $$
begin
    if kind not in (3, 4, 5) then
        raise exception 'no such operation' using errcode = 'invalid_parameter_value';
    end if;
    namespace := check_audience(false, array[target], namespace, except_rooms, key);
    if kind <> 5 then
        perform check_room(room);
    end if;
    if key is not null and not use_key(key) then
        return false;
    end if;
    perform put_packet(kind, namespace, array[target], except_rooms,
        case when kind = 5 then ''::bytea else convert_to(jsonb_build_array(room)::text, 'UTF8') end, null, notify);
    return true;
end
$$;

CREATE FUNCTION socketio.disconnect(target text, namespace text DEFAULT '/'::text, except_rooms text[] DEFAULT NULL::text[], key text DEFAULT NULL::text, notify boolean DEFAULT false) RETURNS boolean
    LANGUAGE sql
    RETURN socketio.operate(5, target, NULL::text, namespace, except_rooms, key, notify);

CREATE FUNCTION socketio.emit_event(everybody boolean, rooms text[], event text, payload jsonb, args jsonb, namespace text, except_rooms text[], attachments bytea[], key text, notify boolean) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'socketio', 'pg_temp'
    AS $$
declare
    doc jsonb := jsonb_build_array(event);
begin
    perform check_event(event);
    namespace := check_audience(everybody, rooms, namespace, except_rooms, key);
    if cardinality(rooms) = 0 then
        return false; -- nobody
    end if;

    if args is not null and (payload is not null or jsonb_typeof(args) <> 'array') then
        raise exception 'args is an array of all arguments, in place of payload' using errcode = 'invalid_parameter_value';
    end if;
    if args is not null then
        doc := doc || args;
    elsif payload is not null then
        doc := jsonb_build_array(event, payload);
    end if;
    if cardinality(attachments) > 0 then
        if cardinality(attachments) > 10 or array_position(attachments, null) is not null then
            raise exception 'at most 10 attachments, none of them null' using errcode = 'invalid_parameter_value';
        elsif has_placeholder(doc) then
            raise exception 'a payload beside attachments cannot have the key _placeholder with the value true' using errcode = 'invalid_parameter_value';
        end if;
        doc := doc || (select jsonb_agg(jsonb_build_object('_placeholder', true, 'num', i - 1) order by i)
                       from generate_series(1, cardinality(attachments)) i);
    end if;

    if key is not null and not use_key(key) then
        return false;
    end if;
    perform put_packet(0, namespace, rooms, except_rooms, convert_to(doc::text, 'UTF8'), attachments, notify);
    return true;
end
$$;

CREATE FUNCTION socketio.emit(room text, event text, payload jsonb DEFAULT NULL::jsonb, args jsonb DEFAULT NULL::jsonb, namespace text DEFAULT '/'::text, except_rooms text[] DEFAULT NULL::text[], attachments bytea[] DEFAULT NULL::bytea[], key text DEFAULT NULL::text, notify boolean DEFAULT false) RETURNS boolean
    LANGUAGE sql
    RETURN socketio.emit_event(false, ARRAY[room], event, payload, args, namespace, except_rooms, attachments, key, notify);

CREATE FUNCTION socketio.emit_all(event text, payload jsonb DEFAULT NULL::jsonb, args jsonb DEFAULT NULL::jsonb, namespace text DEFAULT '/'::text, except_rooms text[] DEFAULT NULL::text[], attachments bytea[] DEFAULT NULL::bytea[], key text DEFAULT NULL::text, notify boolean DEFAULT false) RETURNS boolean
    LANGUAGE sql
    RETURN socketio.emit_event(true, NULL::text[], event, payload, args, namespace, except_rooms, attachments, key, notify);

CREATE FUNCTION socketio.emit_many(rooms text[], event text, payloads jsonb[], other_rooms text[] DEFAULT NULL::text[], namespace text DEFAULT '/'::text, notify boolean DEFAULT false, lenient boolean DEFAULT false) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'socketio', 'pg_temp'
    SET jit TO 'off'
    AS $$
declare
    name      bytea;
    counts    int[];
    frames    bytea[];
    largest   int;
    into_slot smallint;
begin
    begin
        into_slot := outbox_slot_now();
        perform check_event(event);
        if namespace is null or octet_length(namespace) > 1000 then
            raise exception 'invalid namespace' using errcode = 'invalid_parameter_value';
        elsif exists (select from unnest(rooms || other_rooms) r where octet_length(r) not between 1 and 255) then
            raise exception 'a room has a name of 1 to 255 bytes' using errcode = 'invalid_parameter_value';
        end if;
        name := wire_name(case when namespace like '/%' then namespace else '/' || namespace end);
        with bodies as (
            select u.i, int4send(octet_length(c.body)) || c.body || int2send(0::int2) as tail, u.room, nullif(u.other, u.room) as other
            from unnest(rooms, payloads, other_rooms) with ordinality u (room, payload, other, i)
            cross join lateral (
                select convert_to((jsonb_build_array(event) || case when u.payload is null then '[]' else jsonb_build_array(u.payload) end)::text, 'UTF8')
            ) c (body)
            where u.room is not null
        ), packets as (
            select b.i, name || case when b.other is null then int2send(1::int2) || wire_name(b.room)
                                     else int2send(2::int2) || wire_name(b.room) || wire_name(b.other) end || int2send(0::int2) || b.tail as packet
            from bodies b
        ), places as (
            select p.i, p.packet, (row_number() over w - 1) / 2048 as by_packets,
                   (sum(octet_length(p.packet) + 5) over w - octet_length(p.packet) - 5) / 262144 as by_bytes
            from packets p window w as (order by p.i)
        ), rows as (
            select count(*) as packets, max(octet_length(p.packet)) as largest, min(p.i) as i,
                   string_agg(packet_head(0, octet_length(p.packet)) || p.packet, ''::bytea order by p.i) as frame
            from places p group by p.by_packets, p.by_bytes
        )
        select array_agg(r.packets order by r.i), array_agg(r.frame order by r.i), max(r.largest) into counts, frames, largest from rows r;
        if largest > 1048576 then
            raise exception 'an event of % bytes; at most 1048576', largest using errcode = 'program_limit_exceeded';
        end if;
    exception when others then
        if not lenient then
            raise;
        end if;
        raise warning '% events % are not emitted: %', cardinality(rooms), quote_nullable(event), sqlerrm;
        return 0;
    end;
    insert into outbox (packets, slot, frame)
    select u.packets, into_slot, u.frame from unnest(counts, frames) with ordinality u (packets, frame, i) order by u.i;
    if notify and found then
        perform pg_notify(current_schema(), 'relay');
    end if;
    return coalesce((select sum(n) from unnest(counts) n), 0);
end
$$;

CREATE FUNCTION socketio.emit_packet(packet bytea, key text DEFAULT NULL::text, notify boolean DEFAULT false) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'socketio', 'pg_temp'
    AS $$
declare
    at        int := 5;
    size      int;
    names     int;
    args      json;
    into_slot smallint;
begin
    if octet_length(packet) > 1048576 then
        raise exception 'an event of % bytes; at most 1048576', octet_length(packet) using errcode = 'program_limit_exceeded';
    elsif octet_length(key) not between 1 and 255 then
        raise exception 'a key has 1 to 255 bytes' using errcode = 'invalid_parameter_value';
    elsif get_byte(packet, 0) not in (0, 1)
          or ('x' || encode(substr(packet, 2, 4), 'hex'))::bit(32)::int <> octet_length(packet) - 5 then
        raise exception 'malformed packet' using errcode = 'invalid_parameter_value';
    end if;
    size := get_byte(packet, at) * 256 + get_byte(packet, at + 1);
    perform convert_from(substr(packet, at + 3, size), 'UTF8');
    at := at + 2 + size;
    for list in 1..2 loop
        names := get_byte(packet, at) * 256 + get_byte(packet, at + 1);
        at := at + 2;
        for name in 1..names loop
            size := get_byte(packet, at) * 256 + get_byte(packet, at + 1);
            perform check_room(convert_from(substr(packet, at + 3, size), 'UTF8'));
            at := at + 2 + size;
        end loop;
    end loop;
    size := ('x' || encode(substr(packet, at + 1, 4), 'hex'))::bit(32)::int;
    if size < 2 then
        raise exception 'malformed packet' using errcode = 'invalid_parameter_value';
    end if;
    args := convert_from(substr(packet, at + 5, size), 'UTF8');
    if json_typeof(args) <> 'array' or json_typeof(args -> 0) is distinct from 'string' then
        raise exception 'malformed packet' using errcode = 'invalid_parameter_value';
    end if;
    perform check_event(args ->> 0);
    at := at + 4 + size;
    names := get_byte(packet, at) * 256 + get_byte(packet, at + 1);
    if names > 10 then -- more than an official client takes
        raise exception 'malformed packet' using errcode = 'invalid_parameter_value';
    end if;
    perform check_placeholders(args::text, names);
    at := at + 2;
    for attachment in 1..names loop
        size := ('x' || encode(substr(packet, at + 1, 4), 'hex'))::bit(32)::int;
        if size < 0 then
            raise exception 'malformed packet' using errcode = 'invalid_parameter_value';
        end if;
        at := at + 4 + size;
    end loop;
    if at < octet_length(packet) then
        size := get_byte(packet, at) * 256 + get_byte(packet, at + 1);
        if size not between 1 and 512 then
            raise exception 'malformed packet' using errcode = 'invalid_parameter_value';
        end if;
        perform convert_from(substr(packet, at + 3, size), 'UTF8');
        at := at + 2 + size;
    end if;
    if at <> octet_length(packet) then
        raise exception 'malformed packet' using errcode = 'invalid_parameter_value';
    end if;

    if key is not null and not use_key(key) then
        return false;
    end if;
    into_slot := outbox_slot_now();
    insert into outbox (slot, frame) values (into_slot, packet);
    if notify then
        perform pg_notify(current_schema(), 'relay');
    end if;
    return true;
exception when array_subscript_error then -- get_byte behind the end
    raise exception 'malformed packet' using errcode = 'invalid_parameter_value';
end
$$;

CREATE FUNCTION socketio.emit_row() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'socketio', 'pg_temp'
    SET jit TO 'off'
    SET "TimeZone" TO 'UTC'
    SET "DateStyle" TO 'ISO, MDY'
    SET "IntervalStyle" TO 'postgres'
    SET extra_float_digits TO '1'
    SET bytea_output TO 'hex'
    SET quote_all_identifiers TO 'off'
    SET lc_monetary TO 'C'
    AS $_$
declare
    failing boolean := tg_argv[9] = 'fail';
    w      record;
    e      record;
    denied  text;
begin
    -- Without the privileges of allow_emit the functions below may not even be found.
    if has_function_privilege(to_regprocedure('emit_many(text[], text, jsonb[], text[], text, boolean, boolean)'), 'execute') is not true then
        denied := format('a change of table %s is not emitted as %L: role %I may not emit; the owner of the schema allows it with: select %4$s.allow_emit(%3$L)',
                         tg_relid::regclass, tg_argv[0], current_user, split_part(current_setting('search_path'), ',', 1));
        if failing then
            raise insufficient_privilege using message = denied;
        end if;
        raise warning '%', denied;
        return null;
    end if;
    begin
        w := watched_table(tg_relid, tg_argv[2]::oid, tg_argv[3]::text[], tg_argv[4]::text[], tg_argv[5]::int[]);
        if w.missing is not null then
            perform trigger_failed(failing, w.relation, tg_argv[0], format('column %s does not exist any more; attach the trigger again', w.missing), 'undefined_column');
        end if;
        if w.rooms is null then
            return null;
        end if;
        e := change_event(w.relation, w.rooms, w.shown, w.keys, tg_argv[6]::int, tg_argv[7]::boolean,
                          case when tg_op <> 'DELETE' then to_jsonb(new) - w.hidden end, case when tg_op <> 'INSERT' then to_jsonb(old) - w.hidden end);
    exception when others then
        perform trigger_failed(failing, tg_relid::regclass::text, tg_argv[0], sqlerrm, sqlstate);
        return null;
    end;
    if e.room is not null then
        perform emit_many(array[e.room], tg_argv[0], array[e.payload], array[e.other_room], tg_argv[1], tg_argv[8]::boolean, not failing);
    end if;
    return null;
end
$_$;

CREATE FUNCTION socketio.emit_statement() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'socketio', 'pg_temp'
    SET jit TO 'off'
    SET enable_nestloop TO 'off'
    SET "TimeZone" TO 'UTC'
    SET "DateStyle" TO 'ISO, MDY'
    SET "IntervalStyle" TO 'postgres'
    SET extra_float_digits TO '1'
    SET bytea_output TO 'hex'
    SET quote_all_identifiers TO 'off'
    SET lc_monetary TO 'C'
    AS $_$
declare
    most     int     := tg_argv[6];
    with_old boolean := tg_argv[7];
    failing  boolean := tg_argv[9] = 'fail';
    events   refcursor;
    batches  refcursor;
    w        record;
    c        record;
    denied   text;
begin
    -- Without the privileges of allow_emit the functions below may not even be found.
    if has_function_privilege(to_regprocedure('emit_many(text[], text, jsonb[], text[], text, boolean, boolean)'), 'execute') is not true then
        denied := format('a change of table %s is not emitted as %L: role %I may not emit; the owner of the schema allows it with: select %4$s.allow_emit(%3$L)',
                         tg_relid::regclass, tg_argv[0], current_user, split_part(current_setting('search_path'), ',', 1));
        if failing then
            raise insufficient_privilege using message = denied;
        end if;
        raise warning '%', denied;
        return null;
    end if;
    begin
        w := watched_table(tg_relid, tg_argv[2]::oid, tg_argv[3]::text[], tg_argv[4]::text[], tg_argv[5]::int[]);
        if w.missing is not null then
            perform trigger_failed(failing, w.relation, tg_argv[0], format('column %s does not exist any more; attach the trigger again', w.missing), 'undefined_column');
        end if;
        if w.rooms is null then
            return null;
        end if;
        if tg_op = 'INSERT' then
            open events for
                select (e.e).* from (
                    select change_event(w.relation, w.rooms, w.shown, w.keys, most, with_old, to_jsonb(n.*) - w.hidden, null) as e
                    from new_rows n
                    offset 0
                ) e;
        elsif tg_op = 'DELETE' then
            open events for
                select (e.e).* from (
                    select change_event(w.relation, w.rooms, w.shown, w.keys, most, with_old, null, to_jsonb(o.*) - w.hidden) as e
                    from old_rows o
                    offset 0
                ) e;
        elsif (select count(*) from new_rows) <> (select count(*) from old_rows) then
            perform trigger_failed(failing, w.relation, tg_argv[0],
                'rows changed their partition and were not kept; attach the trigger to the partitions, per row', 'feature_not_supported');
            return null;
        else
            open events for
                select (e.e).* from (
                    select change_event(w.relation, w.rooms, w.shown, w.keys, most, with_old, n.fields, o.fields) as e
                    from (select to_jsonb(r.*) - w.hidden as fields, row_number() over () as i from new_rows r) n
                    join (select to_jsonb(r.*) - w.hidden as fields, row_number() over () as i from old_rows r) o on o.i = n.i
                    order by n.i
                    offset 0
                ) e;
        end if;
        open batches for select * from change_batches(events);
    exception when others then
        perform trigger_failed(failing, tg_relid::regclass::text, tg_argv[0], sqlerrm, sqlstate);
        return null;
    end;
    loop
        begin
            fetch batches into c;
        exception when others then
            perform trigger_failed(failing, w.relation, tg_argv[0], sqlerrm, sqlstate);
            return null; -- the cursor went with the block
        end;
        exit when not found;
        perform emit_many(c.rooms, tg_argv[0], c.payloads, c.others, tg_argv[1], tg_argv[8]::boolean, not failing);
    end loop;
    close batches;
    close events; -- else it stays open to the end of the transaction
    return null;
end
$_$;

CREATE FUNCTION socketio.emit_to(rooms text[], event text, payload jsonb DEFAULT NULL::jsonb, args jsonb DEFAULT NULL::jsonb, namespace text DEFAULT '/'::text, except_rooms text[] DEFAULT NULL::text[], attachments bytea[] DEFAULT NULL::bytea[], key text DEFAULT NULL::text, notify boolean DEFAULT false) RETURNS boolean
    LANGUAGE sql
    RETURN socketio.emit_event(false, rooms, event, payload, args, namespace, except_rooms, attachments, key, notify);

CREATE FUNCTION socketio.empty_slot(retention interval) RETURNS boolean
    LANGUAGE plpgsql
    SET search_path TO 'socketio', 'pg_temp'
    SET lock_timeout TO '100ms'
    AS $$
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

    -- A session that waits for this lock makes every reader wait behind it, so it is
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
    -- What has been relayed is known from there on without the batches.
    execute format(
        'update meta m set relayed = l.snapshot, relayed_id = l.id, relayed_last = l.relayed_last, relayed_old = l.relayed_old,
             cut_xid = l.cut_xid, cut_id = l.cut_id, relayed_on = l.relayed_on
         from (select * from %I where snapshot is not null order by id desc limit 1) l where l.id > m.relayed_id', next);
    execute format('truncate only %I', next);
    return true;
end
$$;

CREATE FUNCTION socketio.end_node(node bigint, notify boolean, most integer DEFAULT 10000) RETURNS boolean
    LANGUAGE plpgsql
    SET search_path TO 'socketio', 'pg_temp'
    AS $$
declare
    ended nodes;
    body  bytea;
    held  bigint;
begin
    select * into ended from nodes n where n.id = end_node.node for update;
    if not found then
        return null;
    end if;
    with held as materialized (
        select s.pid_hash from sessions s where s.node = end_node.node order by s.pid_hash limit most for update
    )
    update sessions s
    set covered    = case when s.checkpointed then greatest(s.covered, ended.checkpoint) else s.covered end,
        checkpointed = false,
        node       = null,
        epoch      = s.epoch + 1,
        expires_at = clock_timestamp() + s.window_ms * interval '1 millisecond'
    from held
    where s.pid_hash = held.pid_hash;
    get diagnostics held = row_count;
    if held = most then
        update nodes n set ended = true where n.id = end_node.node and not n.ended;
        return false;
    end if;
    delete from nodes n where n.id = end_node.node;
    if ended.server is not null then
        -- A frame as described at the table log, with one packet of kind 8.
        body := convert_to(ended.server, 'UTF8');
        perform append(end_node.node, 0, 1,
            int2send(264::int2) || int4send(12 + octet_length(body)) || int4send(0) || int2send(0::int2) -- version 1, kind 8, no names
            || int4send(octet_length(body)) || body || int2send(0::int2), notify);
    end if;
    return true;
end
$$;

CREATE FUNCTION socketio.fill_room(template text[], fields jsonb) RETURNS text
    LANGUAGE plpgsql IMMUTABLE
    AS $$
declare
    room text := template[1];
begin
    for i in 1..cardinality(template) / 2 loop
        room := room || (fields ->> template[2 * i]) || template[2 * i + 1];
    end loop;
    if octet_length(room) not between 1 and 255 then
        raise warning 'a changed row is told to nobody: a room cannot have the name %', quote_literal(left(room, 50));
        return null;
    end if;
    return room;
end
$$;

CREATE FUNCTION socketio.forget_presence(retention interval) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'socketio', 'pg_temp'
    SET lock_timeout TO '1s'
    SET enable_seqscan TO 'off'
    SET jit TO 'off'
    AS $$
begin
    -- Lock 2, then lock 1.
    perform from meta for update skip locked;
    if not found then
        return;
    end if;
    lock table append_lock in share update exclusive mode;
    with old as materialized (
        select t.namespace, t.event, t.room
        from (select * from presence_topics o where o.announced_at < clock_timestamp() - retention order by o.announced_at limit 10000) t
        where not exists (select from presence p where p.namespace = t.namespace and p.event = t.event and p.room = t.room)
          and not exists (select from presence_changes c where c.namespace = t.namespace and c.event = t.event and c.room = t.room)
    ), forgotten as (
        delete from presence_topics t using old o
        where t.namespace = o.namespace and t.event = o.event and t.room = o.room
        returning t.version
    )
    update meta m set presence_floor = f.version
    from (select max(g.version) from forgotten g) f (version)
    where f.version > m.presence_floor;
end
$$;

CREATE FUNCTION socketio.frame_packets(frame bytea) RETURNS TABLE(index integer, kind integer, namespace text, rooms text[], except_rooms text[], payload bytea, attachments integer, bytes integer)
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'socketio', 'pg_temp'
    AS $$
declare
    at    int := 1;
    stop  int;
    size  int;
    count int;
    list  text[];
begin
    index := 0;
    while at < octet_length(frame) loop
        kind := get_byte(frame, at);
        bytes := ('x' || encode(substr(frame, at + 2, 4), 'hex'))::bit(32)::int;
        at := at + 5;
        stop := at + bytes;
        if kind <> 255 then -- else it was withdrawn
            size := get_byte(frame, at) * 256 + get_byte(frame, at + 1);
            namespace := name_text(substr(frame, at + 3, size));
            at := at + 2 + size;
            for which in 1..2 loop
                list := '{}';
                count := get_byte(frame, at) * 256 + get_byte(frame, at + 1);
                at := at + 2;
                for i in 1..count loop
                    size := get_byte(frame, at) * 256 + get_byte(frame, at + 1);
                    list := list || name_text(substr(frame, at + 3, size));
                    at := at + 2 + size;
                end loop;
                if which = 1 then
                    rooms := list;
                else
                    except_rooms := list;
                end if;
            end loop;
            size := ('x' || encode(substr(frame, at + 1, 4), 'hex'))::bit(32)::int;
            payload := substr(frame, at + 5, size);
            at := at + 4 + size;
            attachments := get_byte(frame, at) * 256 + get_byte(frame, at + 1);
            return next;
        end if;
        at := stop;
        index := index + 1;
    end loop;
end
$$;

CREATE FUNCTION socketio.has_placeholder(doc jsonb) RETURNS boolean
    LANGUAGE sql IMMUTABLE
    RETURN jsonb_path_exists(doc, 'strict $.**?(@."_placeholder" == true)'::jsonpath);

CREATE FUNCTION socketio.join_room(target text, room text, namespace text DEFAULT '/'::text, except_rooms text[] DEFAULT NULL::text[], key text DEFAULT NULL::text, notify boolean DEFAULT false) RETURNS boolean
    LANGUAGE sql
    RETURN socketio.operate(3, target, room, namespace, except_rooms, key, notify);

CREATE FUNCTION socketio.leave_room(target text, room text, namespace text DEFAULT '/'::text, except_rooms text[] DEFAULT NULL::text[], key text DEFAULT NULL::text, notify boolean DEFAULT false) RETURNS boolean
    LANGUAGE sql
    RETURN socketio.operate(4, target, room, namespace, except_rooms, key, notify);

CREATE FUNCTION socketio.meta_lost() RETURNS void
    LANGUAGE plpgsql STABLE
    SET search_path TO 'socketio', 'pg_temp'
    AS $$
begin
    raise exception 'table meta of schema % has lost its only row: nothing can be emitted', current_schema()
        using errcode = 'PS003', hint = 'migrations.Up, or pgsocket migrate up, puts it back.';
end
$$;

CREATE FUNCTION socketio.name_text(name bytea) RETURNS text
    LANGUAGE plpgsql IMMUTABLE
    SET search_path TO 'socketio', 'pg_temp'
    AS $$
begin
    return convert_from(name, 'UTF8');
exception when others then
    return encode(name, 'escape');
end
$$;

CREATE FUNCTION socketio.notification(key bytea, batch bigint, origin bigint, seq bigint, sealed bytea) RETURNS text
    LANGUAGE sql STABLE
    RETURN CASE WHEN (sealed IS NULL) THEN concat_ws(' '::text, batch, origin, seq) ELSE concat_ws(' '::text, batch, origin, seq, encode(substr(sha256(((key || convert_to(concat_ws(' '::text, batch, origin, seq, ''), 'UTF8'::name)) || sealed)), 1, 12), 'base64'::text), encode(sealed, 'base64'::text)) END;

CREATE FUNCTION socketio.outbox_caller() RETURNS text
    LANGUAGE sql STABLE
    RETURN COALESCE(NULLIF(current_setting('role'::text), 'none'::text), (SESSION_USER)::text);

CREATE FUNCTION socketio.outbox_due() RETURNS boolean
    LANGUAGE plpgsql STABLE
    SET search_path TO 'socketio', 'pg_temp'
    SET enable_seqscan TO 'off'
    SET enable_bitmapscan TO 'off'
    SET jit TO 'off'
    SET plan_cache_mode TO 'force_generic_plan'
    AS $$
begin
    if pg_sequence_last_value('outbox_id_seq') is null then -- nothing was ever emitted
        return false;
    end if;
    return exists (select from relayed_here() s, pending(s.snapshot, s.last, s.old, s.cut_xid, s.cut_id, s.restored, 0));
end
$$;

CREATE FUNCTION socketio.outbox_slot_now() RETURNS smallint
    LANGUAGE plpgsql
    SET search_path TO 'socketio', 'pg_temp'
    AS $$
declare
    slot_now smallint;
    most     bigint;
    caller   text := outbox_caller();
begin
    if pg_sequence_last_value('outbox_id_seq') is null then -- never used: new, or a copy of the tables
        perform advance_outbox_sequence();
    end if;
    select m.outbox_slot, m.outbox_limit into slot_now, most from meta m;
    if not found then
        perform meta_lost();
    end if;
    -- Limits how much of the disk a role can fill. The role of the nodes has no limit.
    if caller <> current_user and pg_table_size(format('%I.%I', current_schema(), 'outbox_' || slot_now)::regclass) > most then
        perform refuse_full(caller, 'the outbox', most);
    end if;
    return slot_now;
end
$$;

CREATE FUNCTION socketio.outbox_waiting() RETURNS TABLE(waiting bigint, oldest timestamp with time zone, bytes bigint)
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'socketio', 'pg_temp'
    SET enable_seqscan TO 'off'
    SET enable_bitmapscan TO 'off'
    SET jit TO 'off'
    SET plan_cache_mode TO 'force_generic_plan'
    AS $$
begin
    return query
    select coalesce(sum(p.packets), 0)::bigint, min(p.at), coalesce(sum(p.size), 0)::bigint
    from relayed_here() s, pending(s.snapshot, s.last, s.old, s.cut_xid, s.cut_id, s.restored, null) p;
end
$$;

CREATE FUNCTION socketio.packet_head(kind integer, size integer) RETURNS bytea
    LANGUAGE sql IMMUTABLE
    RETURN (substr(int2send((kind)::smallint), 2) || int4send(size));

CREATE FUNCTION socketio.pending(state pg_snapshot, last_id bigint, old_id bigint, cut xid8, cut_to bigint, restored boolean, most integer, below xid8 DEFAULT NULL::xid8, above xid8 DEFAULT NULL::xid8) RETURNS TABLE(xid xid8, id bigint, size integer, horizon xid8, packets integer, at timestamp with time zone, slot smallint, late boolean)
    LANGUAGE plpgsql STABLE
    AS $$
#variable_conflict use_column
declare
    seen   pg_snapshot := pg_current_snapshot();
    ends   xid8 := pg_snapshot_xmax(seen);
    begins xid8 := pg_snapshot_xmax(state);
    room   int := most + 1;
    n      int;
    stop   xid8;
    running xid8[] := '{}';
begin
    if restored then
        return query
        select o.xid, o.id, octet_length(o.frame), o.horizon, o.packets, o.at, o.slot, false
        from outbox o
        where o.id > old_id
          and (not pg_visible_in_snapshot(o.xid, state) and (o.xid = cut and o.id <= cut_to) is not true
               or o.id > last_id);
        return;
    end if;
    if below < ends then
        ends := below;
    end if;
    if above is not null then
        begins := (above::text::bigint + 1)::text::xid8;
    elsif pg_snapshot_xmin(state) < begins then
        return query
        select r.*
        from pg_snapshot_xip(state) x
        cross join lateral (
            select o.xid, o.id, octet_length(o.frame), o.horizon, o.packets, o.at, o.slot, false
            from outbox o
            where o.xid = x and o.id > case when x = cut then greatest(cut_to, old_id) else old_id end
            order by o.id
            limit room
        ) r
        where x < ends and pg_visible_in_snapshot(x, seen);
    end if;
    if pg_snapshot_xmin(seen) < ends then
        running := array(select x from pg_snapshot_xip(seen) x where x >= begins and x < ends order by 1);
    end if;
    foreach stop in array running || ends loop
        return query
        select o.xid, o.id, octet_length(o.frame), o.horizon, o.packets, o.at, o.slot, true
        from outbox o
        where o.xid >= begins and o.xid < stop and o.id > old_id
        order by o.xid, o.id
        limit room;
        get diagnostics n = row_count;
        room := room - n;
        exit when room <= 0;
        begins := (stop::text::bigint + 1)::text::xid8;
    end loop;
end
$$;

CREATE FUNCTION socketio.presence_changed() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'socketio', 'pg_temp'
    AS $$
begin
    if tg_op = 'INSERT' then
        insert into presence_changes (namespace, event, room, sid, before, state)
        values (new.namespace, new.event, new.room, new.sid, null, new.state);
    elsif tg_op = 'DELETE' then
        insert into presence_changes (namespace, event, room, sid, before, state)
        values (old.namespace, old.event, old.room, old.sid, old.state, null);
    else
        insert into presence_changes (namespace, event, room, sid, before, state)
        values (new.namespace, new.event, new.room, new.sid, old.state, new.state);
    end if;
    return null;
end
$$;

CREATE FUNCTION socketio.presence_due(min_ms integer) RETURNS integer
    LANGUAGE plpgsql
    SET search_path TO 'socketio', 'pg_temp'
    SET enable_seqscan TO 'off'
    SET enable_bitmapscan TO 'off'
    SET jit TO 'off'
    AS $$
begin
    return (
        select min(case when t.announced_at is null or t.announced_at > clock_timestamp() then 0 -- new, or the clock was set back
                        else greatest(0, ceil(min_ms - 1000 * extract(epoch from clock_timestamp() - t.announced_at))) end)
        from (select distinct c.namespace, c.event, c.room
              from (select * from presence_changes order by id limit 2000) c) d
        left join lateral (
            select o.announced_at from presence_topics o where o.namespace = d.namespace and o.event = d.event and o.room = d.room limit 1
        ) t on true
    );
end
$$;

CREATE FUNCTION socketio.put_packet(kind integer, namespace text, rooms text[], except_rooms text[], body bytea, attachments bytea[], notify boolean) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'socketio', 'pg_temp'
    AS $$
declare
    packet    bytea;
    name      text;
    part      bytea;
    into_slot smallint;
begin
    packet := wire_name(namespace) || int2send(coalesce(cardinality(rooms), 0)::int2);
    foreach name in array coalesce(rooms, '{}') loop
        packet := packet || wire_name(name);
    end loop;
    packet := packet || int2send(coalesce(cardinality(except_rooms), 0)::int2);
    foreach name in array coalesce(except_rooms, '{}') loop
        packet := packet || wire_name(name);
    end loop;
    packet := packet || int4send(octet_length(body)) || body || int2send(coalesce(cardinality(attachments), 0)::int2);
    foreach part in array coalesce(attachments, '{}') loop
        packet := packet || int4send(octet_length(part)) || part;
    end loop;
    if octet_length(packet) > 1048576 then
        raise exception 'an event of % bytes; at most 1048576', octet_length(packet) using errcode = 'program_limit_exceeded';
    end if;
    into_slot := outbox_slot_now();
    insert into outbox (slot, frame) values (into_slot, packet_head(kind, octet_length(packet)) || packet);
    if notify then
        perform pg_notify(current_schema(), 'relay');
    end if;
end
$$;

CREATE FUNCTION socketio.refuse_full(role text, place text, most bigint) RETURNS void
    LANGUAGE plpgsql STABLE
    SET search_path TO 'socketio', 'pg_temp'
    AS $$
begin
    if not pg_has_role(role, (select n.nspowner from pg_namespace n where n.nspname = current_schema()), 'member') then
        raise exception '% of schema % has more than % bytes', place, current_schema(), most
            using errcode = 'configuration_limit_exceeded',
                  hint = 'It shrinks when the nodes have copied or deleted what is old. The limit is outbox_limit in table meta. The role of the owner has none.';
    end if;
end
$$;

CREATE FUNCTION socketio.relay_outbox(wait boolean, notify boolean) RETURNS integer
    LANGUAGE plpgsql
    SET search_path TO 'socketio', 'pg_temp'
    SET lock_timeout TO '0'
    AS $$
begin
    perform require_read_committed();
    -- Lock 1 of the schema.
    if wait then
        lock table append_lock in share update exclusive mode;
    else
        begin
            lock table append_lock in share update exclusive mode nowait;
        exception when lock_not_available then
            return -1;
        end;
    end if;
    if not exists (select from meta) then
        perform meta_lost();
    end if;
    return relay_pending(131072, 33554432, false, notify);
end
$$;

CREATE FUNCTION socketio.relay_pending(most integer, bytes bigint, entirely boolean, notify boolean) RETURNS integer
    LANGUAGE plpgsql
    SET search_path TO 'socketio', 'pg_temp'
    SET enable_seqscan TO 'off'
    SET enable_bitmapscan TO 'off'
    SET jit TO 'off'
    SET plan_cache_mode TO 'force_generic_plan'
    AS $$
declare
    s        record;
    seen     pg_snapshot;
    all_xids xid8[];
    all_ids  bigint[];
    sizes    int[];
    horizons xid8[];
    lates    boolean[];
    large    bigint;
    n        bigint;
    xids     xid8[];
    ids      bigint[];
    read     xid8[];
    before   bigint;
    beyond   xid8;
    cut      xid8;
    top      xid8;
    waiting  xid8[];
    here     bigint;
    r        record;
begin
    select * into s from relayed();
    loop
        -- A row that the snapshot should not see was there before a restore.
        select pg_current_snapshot(), array_agg(p.xid), array_agg(p.id), array_agg(p.size), array_agg(p.horizon), array_agg(p.late),
               case when s.restored then (select max(o.id) from outbox o where not pg_visible_in_snapshot(o.xid, pg_current_snapshot())) end
        into seen, all_xids, all_ids, sizes, horizons, lates, before
        from pending(s.snapshot, s.last, s.old, s.cut_xid, s.cut_id, s.restored, most) p;
        exit when entirely and all_ids is null;
        here := coalesce(here, server_identity());
        exit when s.restored or (s.relayed_on = here) is not false;
        s.restored := true;
    end loop;
    if all_ids is null then
        if s.restored then
            -- Nothing waits from before. Without waiting for meta: its lock comes before the append lock.
            perform from meta for update skip locked;
            if found then
                update meta set relayed = seen, relayed_id = coalesce((select max(l.id) from log l), 0), relayed_last = s.last,
                    relayed_old = greatest(s.last, before), cut_xid = null, cut_id = null, relayed_on = server_identity();
            end if;
        end if;
        return 0;
    end if;
    select min(l.xid::text::bigint), count(*) into large, n from unnest(all_xids, lates) l (xid, late) where l.late
    having min(l.xid::text::bigint) = max(l.xid::text::bigint);
    if n > most and not entirely then
        -- One transaction that alone has more than is read does not hide those behind it, which it may have seen.
        select all_xids || array_agg(p.xid), all_ids || array_agg(p.id), sizes || array_agg(p.size), horizons || array_agg(p.horizon),
               array_fill(false, array[cardinality(lates)]) || array_agg(p.late)
        into all_xids, all_ids, sizes, horizons, lates
        from pending(s.snapshot, s.last, s.old, s.cut_xid, s.cut_id, s.restored, most, pg_snapshot_xmax(seen), large::text::xid8) p;
    end if;

    with read as materialized (
        select * from unnest(all_xids, all_ids, sizes, horizons, lates) p (xid, id, size, horizon, late)
    ), limits as (
        -- The first transaction that may not have been read entirely.
        select case when count(*) > most then max(p.xid::text::bigint) end as unread from read p where p.late
    ), transactions as (
        select t.xid, coalesce(o.id, t.last) as last,
               case when t.xid = s.cut_xid then 0
                    when b.unread is null then 1
                    when t.xid::text::bigint >= b.unread then 3
                    when coalesce(o.horizon::text::bigint, t.horizon) > b.unread then 2
                    else 1 end as class
        from (select p.xid, max(p.id) as last, max(p.horizon::text::bigint) as horizon, count(*) > most as large from read p group by p.xid) t
        cross join limits b
        left join lateral (select u.id, u.horizon from outbox u where t.large and u.xid = t.xid order by u.id desc limit 1) o on true
    ), chosen as (
        select t.xid, t.class = 0 as first, t.last
        from transactions t
        where t.class <= greatest((select min(u.class) from transactions u), 1)
    ), ordered as (
        select p.xid, p.id, row_number() over w as n,
               row_number() over w = 1 or row_number() over w <= most and sum(p.size) over w <= bytes as fits
        from read p join chosen c on c.xid = p.xid
        window w as (order by c.first desc, c.last, p.id)
    )
    select (select array_agg(t.xid) from transactions t),
           array_agg(o.xid order by o.n) filter (where o.fits),
           array_agg(o.id order by o.n) filter (where o.fits),
           (min(array[o.n, o.xid::text::bigint]) filter (where not o.fits))[2]::text::xid8
    into read, xids, ids, beyond
    from ordered o;

    if cardinality(all_ids) = cardinality(ids) then
        -- All of it: the snapshot says what has been relayed.
        if s.restored then
            s.old := greatest(s.last, before);
        end if;
    elsif entirely then
        return -1;
    else
        -- A transaction that does not fit entirely waits, unless it is the first.
        if xids[1] = beyond then
            cut := beyond;
            s.cut_id := ids[cardinality(ids)];
        elsif xids[cardinality(xids)] = beyond then
            ids := ids[:array_position(xids, beyond) - 1];
            xids := xids[:cardinality(ids)];
        end if;
        -- Relayed is everything below top, except what waits and what was running.
        -- What waits below top was running when the newest of the relayed began,
        -- so these are never more than there are connections.
        select greatest(pg_snapshot_xmax(s.snapshot), (x::text::bigint + 1)::text::xid8)
        into top from unnest(xids) x order by x desc limit 1;
        waiting := array(
            ((select x from unnest(read) x where x < top union select x from pg_snapshot_xip(seen) x where x < top)
             except select x from unnest(xids) x)
            union
            select cut where cut is not null
            order by 1);
        seen := format('%s:%s:%s', coalesce(waiting[1], top), top, array_to_string(waiting, ','))::pg_snapshot;
    end if;

    select greatest(s.last, max(i)) into s.last from unnest(ids) i;
    perform advance_log_sequence();
    with added as (
        insert into log (id, origin, seq, packets, slot, frame, snapshot, relayed_last, relayed_old, cut_xid, cut_id, relayed_on, xids, sizes, names)
        select nextval('log_id_seq'), -1, ('x' || left(translate(gen_random_uuid()::text, '-', ''), 16))::bit(64)::bigint,
               b.packets, m.slot, b.frame, seen, s.last, s.old, cut, case when cut is not null then s.cut_id end, here, b.xids, b.sizes, b.names
        from meta m, (
            select sum(p.packets) as packets, substr(int2send(1::int2), 2) || string_agg(p.frame, ''::bytea order by p.n) as frame,
                   array_agg(p.xid order by p.n) as xids, array_agg(p.packets order by p.n) as sizes,
                   string_agg(xid8send(p.xid) || int8send(p.id) || timestamptz_send(p.at) || int4send(p.packets), ''::bytea order by p.n) as names
            from (
                select u.n, o.xid, o.id, o.at, o.packets, o.frame,
                       (sum(o.packets) over w - o.packets) / 2048 as by_packets,
                       (sum(octet_length(o.frame)) over w - octet_length(o.frame)) / 262144 as by_bytes
                from unnest(xids, ids) with ordinality u (xid, id, n)
                join outbox o on o.xid = u.xid and o.id = u.id
                window w as (order by u.n)
            ) p
            group by p.by_packets, p.by_bytes
            order by p.by_packets, p.by_bytes
        ) b
        returning id, origin, seq
    )
    select a.id, a.origin, a.seq into r from added a order by a.id desc limit 1;
    if notify then -- one is enough, and has no frame with it: nothing here can seal one
        perform pg_notify(current_schema(), notification(null, r.id, r.origin, r.seq, null));
    end if;
    return cardinality(ids);
end
$$;

SET default_tablespace = '';

CREATE TABLE socketio.log (
    id bigint NOT NULL,
    origin bigint NOT NULL,
    seq bigint NOT NULL,
    at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    packets integer NOT NULL,
    slot smallint NOT NULL,
    frame bytea NOT NULL,
    snapshot pg_snapshot,
    relayed_last bigint,
    relayed_old bigint,
    cut_xid xid8,
    cut_id bigint,
    relayed_on bigint,
    xids xid8[],
    sizes integer[],
    names bytea,
    CONSTRAINT log_packets CHECK (((packets >= 1) AND (packets <= 4096)))
)
PARTITION BY LIST (slot);
ALTER TABLE ONLY socketio.log ALTER COLUMN frame SET STORAGE EXTERNAL;

COMMENT ON COLUMN socketio.log.origin IS 'the publisher: a random number of one process';

COMMENT ON COLUMN socketio.log.seq IS 'the number of the batch at its origin; (origin, seq) identifies the batch';

COMMENT ON COLUMN socketio.log.snapshot IS 'of a relayed batch: what had been relayed with it';

COMMENT ON COLUMN socketio.log.relayed_on IS 'of a relayed batch: the server that the transaction ids in snapshot belong to';

COMMENT ON COLUMN socketio.log.xids IS 'of a relayed batch: the transactions that its packets come from, in order';

COMMENT ON COLUMN socketio.log.sizes IS 'how many packets come from each of xids';

COMMENT ON COLUMN socketio.log.names IS 'of a relayed batch: xid, id, and at of each row of the outbox, and its number of packets, in order; 28 bytes each';

SET default_table_access_method = heap;

CREATE TABLE socketio.meta (
    low bigint DEFAULT 0 NOT NULL,
    log_number bigint DEFAULT (((('x'::text || "left"((gen_random_uuid())::text, 8)))::bit(32))::bigint | (1)::bigint) NOT NULL,
    slot_started timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    notification_key bytea DEFAULT sha256(convert_to(((gen_random_uuid())::text || (gen_random_uuid())::text), 'UTF8'::name)) NOT NULL,
    schema_version integer DEFAULT 1 NOT NULL,
    works_from integer DEFAULT 1 NOT NULL,
    slot smallint DEFAULT 0 NOT NULL,
    outbox_started timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    outbox_slot smallint DEFAULT 0 NOT NULL,
    outbox_limit bigint DEFAULT '4294967296'::bigint NOT NULL,
    presence_floor bigint DEFAULT 0 NOT NULL,
    keys_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    keys_seen pg_snapshot DEFAULT pg_current_snapshot() NOT NULL,
    relayed pg_snapshot DEFAULT pg_current_snapshot() NOT NULL,
    relayed_id bigint DEFAULT 0 NOT NULL,
    relayed_last bigint DEFAULT 0 NOT NULL,
    relayed_old bigint DEFAULT 0 NOT NULL,
    cut_xid xid8,
    cut_id bigint,
    relayed_on bigint,
    only_row boolean DEFAULT true NOT NULL,
    CONSTRAINT meta_one_row CHECK (only_row),
    CONSTRAINT meta_outbox_slot CHECK (((outbox_slot >= 0) AND (outbox_slot <= 2))),
    CONSTRAINT meta_slot CHECK (((slot >= 0) AND (slot <= 2)))
);

COMMENT ON COLUMN socketio.meta.low IS 'the newest position that is no longer kept';

COMMENT ON COLUMN socketio.meta.log_number IS 'tells this log from any other: a random 32-bit number, not zero, that offsets carry';

COMMENT ON COLUMN socketio.meta.notification_key IS 'a secret of the nodes, which seals notifications: any role may LISTEN and NOTIFY';

COMMENT ON COLUMN socketio.meta.schema_version IS 'the version of the schema; every migration sets it, and the default';

COMMENT ON COLUMN socketio.meta.works_from IS 'the oldest schema version that a program must know to work with this schema';

COMMENT ON COLUMN socketio.meta.slot IS 'the partition of log that is appended to';

COMMENT ON COLUMN socketio.meta.outbox_slot IS 'the partition of outbox that emits are written to';

COMMENT ON COLUMN socketio.meta.outbox_limit IS 'the size in bytes, of a partition of outbox and of table answers, beyond which a role that is not a member of the owner cannot add to it';

COMMENT ON COLUMN socketio.meta.presence_floor IS 'the greatest version of a topic that was forgotten; later versions are greater';

COMMENT ON COLUMN socketio.meta.keys_seen IS 'what had been committed at keys_at: of the older keys, only these are removed';

COMMENT ON COLUMN socketio.meta.relayed IS 'what had been relayed when the log had the id relayed_id; a later batch of the log supersedes it';

COMMENT ON COLUMN socketio.meta.relayed_last IS 'the greatest id of the outbox that had been relayed';

COMMENT ON COLUMN socketio.meta.relayed_old IS 'rows of the outbox up to this id were relayed before a dump was restored: their transaction ids are those of another server';

COMMENT ON COLUMN socketio.meta.cut_xid IS 'of this transaction, which was too large for one run, the rows up to cut_id';

COMMENT ON COLUMN socketio.meta.relayed_on IS 'the server that the transaction ids in relayed belong to, see server_identity';

CREATE FUNCTION socketio.relayed() RETURNS TABLE(snapshot pg_snapshot, last bigint, old bigint, cut_xid xid8, cut_id bigint, restored boolean, relayed_on bigint)
    LANGUAGE sql STABLE
    BEGIN ATOMIC
 SELECT s.snapshot,
     s.relayed_last,
     s.relayed_old,
     s.cut_xid,
     s.cut_id,
     (pg_snapshot_xmax(s.snapshot) > pg_snapshot_xmax(pg_current_snapshot())),
     s.relayed_on
    FROM (( SELECT l.id,
             l.snapshot,
             l.relayed_last,
             l.relayed_old,
             l.cut_xid,
             l.cut_id,
             l.relayed_on,
             0 AS later
            FROM socketio.log l
           WHERE (l.snapshot IS NOT NULL)
           ORDER BY l.id DESC
          LIMIT 1)
         UNION ALL
          SELECT m.relayed_id,
             m.relayed,
             m.relayed_last,
             m.relayed_old,
             m.cut_xid,
             m.cut_id,
             m.relayed_on,
             1
            FROM socketio.meta m) s
   ORDER BY s.id DESC, s.later DESC
  LIMIT 1;
END;

CREATE FUNCTION socketio.server_identity() RETURNS bigint
    LANGUAGE plpgsql STABLE
    SET search_path TO 'socketio', 'pg_temp'
    AS $$
begin
    return (select c.system_identifier from pg_control_system() c);
exception when others then
    return null;
end
$$;

CREATE FUNCTION socketio.relayed_here() RETURNS TABLE(snapshot pg_snapshot, last bigint, old bigint, cut_xid xid8, cut_id bigint, restored boolean)
    LANGUAGE sql STABLE
    BEGIN ATOMIC
 SELECT s.snapshot,
     s.last,
     s.old,
     s.cut_xid,
     s.cut_id,
     (s.restored OR COALESCE((s.relayed_on <> socketio.server_identity()), false))
    FROM socketio.relayed() s(snapshot, last, old, cut_xid, cut_id, restored, relayed_on);
END;

CREATE FUNCTION socketio.require_owner(call text) RETURNS void
    LANGUAGE plpgsql STABLE
    SET search_path TO 'socketio', 'pg_temp'
    AS $$
begin
    if not pg_has_role((select n.nspowner from pg_namespace n where n.nspname = current_schema()), 'usage') then
        raise insufficient_privilege using message = format('only the owner of schema "%s" may call %s', current_schema(), call);
    end if;
end
$$;

CREATE FUNCTION socketio.require_read_committed() RETURNS void
    LANGUAGE plpgsql STABLE
    AS $$
begin
    if current_setting('transaction_isolation') <> 'read committed' then
        raise exception 'the log is appended to at isolation level read committed, not %', current_setting('transaction_isolation')
            using errcode = 'PS002', hint = 'alter role ... set default_transaction_isolation = ''read committed''';
    end if;
end
$$;

CREATE FUNCTION socketio.rotate_outbox(retention interval) RETURNS boolean
    LANGUAGE plpgsql
    SET search_path TO 'socketio', 'pg_temp'
    SET enable_seqscan TO 'off'
    SET enable_bitmapscan TO 'off'
    SET jit TO 'off'
    SET plan_cache_mode TO 'force_generic_plan'
    AS $$
declare
    backlog constant int := 10000;
    next        int;
    committed   pg_snapshot;
    waits       bigint;
    waits_there bigint;
begin
    -- Lock 2 of the schema, then the partition, for which nothing waits.
    perform from meta for update skip locked;
    if not found then
        return false;
    end if;
    -- A key counts from its commit, which the snapshot tells, not from its use.
    select m.keys_seen into committed from meta m where clock_timestamp() - m.keys_at >= retention;
    if found then
        -- After a restore the numbers of transactions begin anew.
        delete from emit_keys k
        where k.at < clock_timestamp() - retention
          and (pg_visible_in_snapshot(k.xid, committed) or k.xid >= pg_snapshot_xmax(pg_current_snapshot()));
        update meta set keys_seen = pg_current_snapshot(), keys_at = clock_timestamp();
    end if;
    select (m.outbox_slot + 1) % 3 into next from meta m
    where clock_timestamp() - m.outbox_started >= retention / 2;
    if not found then
        return false;
    end if;
    begin
        execute format('lock table only %I in access exclusive mode nowait', 'outbox_' || next);
    exception when lock_not_available then
        return false;
    end;
    select count(*), count(*) filter (where p.slot = next) into waits, waits_there
    from relayed_here() s, pending(s.snapshot, s.last, s.old, s.cut_xid, s.cut_id, s.restored, backlog) p;
    if waits_there > 0 or waits > backlog then
        return false;
    end if;
    execute format('truncate only %I', 'outbox_' || next);
    update meta set outbox_slot = next, outbox_started = clock_timestamp();
    return true;
end
$$;

CREATE FUNCTION socketio.seen_after(batch bigint, state pg_snapshot, notify boolean) RETURNS TABLE(first bigint, last bigint)
    LANGUAGE plpgsql
    SET search_path TO 'socketio', 'pg_temp'
    SET lock_timeout TO '0'
    SET enable_seqscan TO 'off'
    SET enable_bitmapscan TO 'off'
    SET jit TO 'off'
    SET plan_cache_mode TO 'force_generic_plan'
    AS $$
declare
    most constant int := 131072;
    waits boolean;
begin
    if pg_snapshot_xmax(state) > pg_snapshot_xmax(pg_current_snapshot()) then
        raise exception 'a snapshot from the future' using errcode = 'invalid_parameter_value';
    end if;
    if pg_sequence_last_value('outbox_id_seq') is not null then
        select count(*) > most or bool_or(pg_visible_in_snapshot(p.xid, state)) into waits
        from relayed_here() s, pending(s.snapshot, s.last, s.old, s.cut_xid, s.cut_id, s.restored, most, pg_snapshot_xmax(state)) p;
        if waits then
            perform require_read_committed();
            -- Lock 1 of the schema.
            lock table append_lock in share update exclusive mode;
            if relay_pending(most, 33554432, false, notify) > 0 then
                return query select null::bigint, null::bigint;
                return;
            end if;
        end if;
    end if;
    return query
    select min(g.first), max(g.last)
    from (
        select p.first, p.last, sum(p.apart) over (order by p.first) as stretch
        from (
            select q.first, q.last, (q.first <> lag(q.last, 1, -1::bigint) over (order by q.first) + 1)::int as apart
            from (
                select l.id * 4096 + sum(u.size) over w - u.size as first, l.id * 4096 + sum(u.size) over w - 1 as last, u.xid
                from log l cross join unnest(l.xids, l.sizes) with ordinality u (xid, size, n)
                where l.id > batch and l.snapshot is not null
                window w as (partition by l.id order by u.n)
            ) q
            where pg_visible_in_snapshot(q.xid, state)
        ) p
    ) g
    group by g.stretch
    order by 1;
end
$$;

CREATE FUNCTION socketio.set_sequence(sequence regclass, value bigint) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'socketio', 'pg_temp'
    AS $$
begin
    perform setval(sequence, value);
end
$$;

CREATE FUNCTION socketio.snapshot_token() RETURNS text
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'socketio', 'pg_temp'
    AS $$
declare
    mark text;
begin
    if pg_is_in_recovery() then
        raise exception 'a standby does not know which transactions are running' using errcode = 'feature_not_supported', hint = 'Read the state and the snapshot token on the primary.';
    end if;
    select concat_ws('.', m.log_number, coalesce(h.id * 4096 + h.packets - 1, m.low), coalesce(h.origin, 0), coalesce(h.seq, 0), pg_current_snapshot())
    into mark
    from meta m
    left join lateral (select l.id, l.origin, l.seq, l.packets from log l order by l.id desc limit 1) h on true;
    return mark;
end
$$;

CREATE FUNCTION socketio.switch_slot(retention interval) RETURNS boolean
    LANGUAGE plpgsql
    SET search_path TO 'socketio', 'pg_temp'
    SET lock_timeout TO '1s'
    AS $$
declare
    next  int;
    empty boolean;
begin
    -- Lock 2, then lock 1.
    perform from meta for update skip locked;
    if not found then
        return false;
    end if;
    select (m.slot + 1) % 3 into next from meta m
    where clock_timestamp() - m.slot_started >= retention / 2;
    if not found then
        return false;
    end if;
    execute format('select not exists (select from %I)', 'log_' || next) into empty;
    if not empty then
        return false;
    end if;
    lock table append_lock in share update exclusive mode;
    update meta set slot = next, slot_started = clock_timestamp();
    return true;
end
$$;

CREATE FUNCTION socketio.trigger_failed(failing boolean, relation text, event text, problem text, state text) RETURNS void
    LANGUAGE plpgsql
    AS $$
begin
    if failing then
        raise exception 'a change of table % cannot be emitted as %: %', relation, quote_literal(event), problem using errcode = state;
    end if;
    raise warning 'a change of table % is not emitted as %: %', relation, quote_literal(event), problem;
end
$$;

CREATE FUNCTION socketio.use_key(key text) RETURNS boolean
    LANGUAGE plpgsql
    SET search_path TO 'socketio', 'pg_temp'
    AS $$
begin
    insert into emit_keys (role, key) values (outbox_caller(), use_key.key) on conflict do nothing;
    return found;
end
$$;

CREATE FUNCTION socketio.watched_table(relid oid, attached oid, template text[], columns text[], numbers integer[], OUT relation text, OUT rooms text[], OUT shown text[], OUT keys text[], OUT hidden text[], OUT missing text) RETURNS record
    LANGUAGE plpgsql STABLE
    SET search_path TO 'socketio', 'pg_temp'
    AS $$
declare
    root  oid := coalesce(pg_partition_root(watched_table.relid), watched_table.relid);
    count int := cardinality(template) / 2; -- of the columns in the template, whose numbers come first
    names text[];
begin
    if attached = watched_table.relid or exists (select from pg_partition_ancestors(watched_table.relid) p where p.relid = attached) then
        root := attached;
    end if;
    select format('%s.%s', n.nspname, c.relname) into relation
    from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = root;

    select array_agg(a.attname::text order by u.i), string_agg(quote_ident(u.name), ', ') filter (where a.attname is null)
    into names, missing
    from unnest(array(select template[2 * i] from generate_series(1, count) i order by i) || columns, numbers)
        with ordinality u (name, number, i)
    left join pg_attribute a on a.attrelid = root and a.attnum > 0 and not a.attisdropped
        and case when root = attached then a.attnum = u.number else a.attname = u.name end;
    if array_position(names[:count], null) is null then
        rooms := template;
        for i in 1..count loop
            rooms[2 * i] := names[i];
        end loop;
    end if;
    shown := array_remove(names[count + 1:], null);
    if cardinality(columns) > 0 and cardinality(shown) = 0 then
        rooms := null; -- an empty list would mean every column
    end if;

    keys := array(
        select a.attname::text
        from pg_index i
        join pg_attribute a on a.attrelid = i.indrelid and a.attnum = any ((i.indkey::int2[])[0:i.indnkeyatts - 1])
        where i.indrelid = root and i.indisprimary);
    hidden := '{}';
    if current_setting('server_version_num')::int >= 180000 then
        hidden := array(
            select a.attname::text
            from pg_attribute a where a.attrelid = root and a.attnum > 0 and not a.attisdropped and a.attgenerated = 'v');
    end if;
end
$$;

CREATE FUNCTION socketio.wire_name(name text) RETURNS bytea
    LANGUAGE sql STABLE
    RETURN (int2send((octet_length(convert_to(name, 'UTF8'::name)))::smallint) || convert_to(name, 'UTF8'::name));

CREATE TABLE socketio.answers (
    expires_at timestamp with time zone NOT NULL,
    xid xid8 DEFAULT pg_current_xact_id() NOT NULL,
    role text NOT NULL COLLATE pg_catalog."C",
    request bytea NOT NULL,
    content bytea NOT NULL,
    answer bytea,
    CONSTRAINT answers_sizes CHECK (((octet_length(request) = 32) AND (octet_length(content) = 32) AND (octet_length(answer) <= 1048576)))
);

COMMENT ON TABLE socketio.answers IS 'the answers to requests that run once, for repetitions';

COMMENT ON COLUMN socketio.answers.xid IS 'the transaction of the effects';

COMMENT ON COLUMN socketio.answers.request IS 'the SHA-256 of the client, the name of the request and its key';

COMMENT ON COLUMN socketio.answers.content IS 'the SHA-256 of what was requested';

COMMENT ON COLUMN socketio.answers.answer IS 'the JSON of the answer; null until the effects of the request are complete';

CREATE TABLE socketio.append_lock (
)
WITH (autovacuum_enabled=off);

CREATE TABLE socketio.emit_keys (
    at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    xid xid8 DEFAULT pg_current_xact_id() NOT NULL,
    role text NOT NULL COLLATE pg_catalog."C",
    key text NOT NULL COLLATE pg_catalog."C"
);

CREATE TABLE socketio.log_0 (
    id bigint NOT NULL,
    origin bigint NOT NULL,
    seq bigint NOT NULL,
    at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    packets integer NOT NULL,
    slot smallint NOT NULL,
    frame bytea NOT NULL,
    snapshot pg_snapshot,
    relayed_last bigint,
    relayed_old bigint,
    cut_xid xid8,
    cut_id bigint,
    relayed_on bigint,
    xids xid8[],
    sizes integer[],
    names bytea,
    CONSTRAINT log_packets CHECK (((packets >= 1) AND (packets <= 4096)))
)
WITH (autovacuum_enabled=off, toast_tuple_target='8160', toast.autovacuum_enabled=off);
ALTER TABLE ONLY socketio.log_0 ALTER COLUMN frame SET STORAGE EXTERNAL;

CREATE TABLE socketio.log_1 (
    id bigint NOT NULL,
    origin bigint NOT NULL,
    seq bigint NOT NULL,
    at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    packets integer NOT NULL,
    slot smallint NOT NULL,
    frame bytea NOT NULL,
    snapshot pg_snapshot,
    relayed_last bigint,
    relayed_old bigint,
    cut_xid xid8,
    cut_id bigint,
    relayed_on bigint,
    xids xid8[],
    sizes integer[],
    names bytea,
    CONSTRAINT log_packets CHECK (((packets >= 1) AND (packets <= 4096)))
)
WITH (autovacuum_enabled=off, toast_tuple_target='8160', toast.autovacuum_enabled=off);
ALTER TABLE ONLY socketio.log_1 ALTER COLUMN frame SET STORAGE EXTERNAL;

CREATE TABLE socketio.log_2 (
    id bigint NOT NULL,
    origin bigint NOT NULL,
    seq bigint NOT NULL,
    at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    packets integer NOT NULL,
    slot smallint NOT NULL,
    frame bytea NOT NULL,
    snapshot pg_snapshot,
    relayed_last bigint,
    relayed_old bigint,
    cut_xid xid8,
    cut_id bigint,
    relayed_on bigint,
    xids xid8[],
    sizes integer[],
    names bytea,
    CONSTRAINT log_packets CHECK (((packets >= 1) AND (packets <= 4096)))
)
WITH (autovacuum_enabled=off, toast_tuple_target='8160', toast.autovacuum_enabled=off);
ALTER TABLE ONLY socketio.log_2 ALTER COLUMN frame SET STORAGE EXTERNAL;

CREATE SEQUENCE socketio.log_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

CREATE UNLOGGED TABLE socketio.node_marks (
    id bigint NOT NULL
);

CREATE TABLE socketio.nodes (
    id bigint NOT NULL,
    "position" bigint NOT NULL,
    checkpoint bigint,
    retention_ms bigint NOT NULL,
    lease_ms bigint NOT NULL,
    started timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    seen timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    name text NOT NULL,
    server text COLLATE pg_catalog."C",
    bound bigint,
    ended boolean DEFAULT false NOT NULL,
    frames smallint DEFAULT 1 NOT NULL,
    host text,
    pid integer,
    version text
)
WITH (fillfactor='50');

COMMENT ON COLUMN socketio.nodes.id IS 'one incarnation of a node: it changes when the other nodes have declared the node dead';

COMMENT ON COLUMN socketio.nodes."position" IS 'how far the node had read the log when it was last seen';

COMMENT ON COLUMN socketio.nodes.checkpoint IS 'up to here nothing is missing in the checkpointed sessions of this node';

COMMENT ON COLUMN socketio.nodes.retention_ms IS 'how long this node wants records to be kept; the longest of all nodes applies';

COMMENT ON COLUMN socketio.nodes.lease_ms IS 'how long this node may send no heartbeat before other nodes take its sessions';

COMMENT ON COLUMN socketio.nodes.server IS 'the name of the server on this node, which outlives the id; null without one';

COMMENT ON COLUMN socketio.nodes.bound IS 'deliveries to the server begin after this position';

COMMENT ON COLUMN socketio.nodes.ended IS 'the node is fenced, and its sessions are being parked';

COMMENT ON COLUMN socketio.nodes.frames IS 'the newest frame version that the node reads; nodes write no newer one while it is registered';

COMMENT ON COLUMN socketio.nodes.host IS 'the host name of the machine or container of the node, and pid its process there';

COMMENT ON COLUMN socketio.nodes.version IS 'the version of this module in the program of the node';

CREATE SEQUENCE socketio.outbox_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

CREATE TABLE socketio.outbox (
    id bigint DEFAULT nextval('socketio.outbox_id_seq'::regclass) NOT NULL,
    xid xid8 DEFAULT pg_current_xact_id() NOT NULL,
    at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    packets integer DEFAULT 1 NOT NULL,
    horizon xid8 DEFAULT pg_snapshot_xmax(pg_current_snapshot()) NOT NULL,
    slot smallint NOT NULL,
    frame bytea NOT NULL,
    CONSTRAINT outbox_packets CHECK (((packets >= 1) AND (packets <= 2048)))
)
PARTITION BY LIST (slot);
ALTER TABLE ONLY socketio.outbox ALTER COLUMN frame SET STORAGE EXTERNAL;

COMMENT ON TABLE socketio.outbox IS 'what was emitted from SQL: copied to the log after the commit';

COMMENT ON COLUMN socketio.outbox.xid IS 'the transaction, also for an emit behind a savepoint';

COMMENT ON COLUMN socketio.outbox.horizon IS 'no transaction from this one on was seen by the emit';

COMMENT ON COLUMN socketio.outbox.frame IS 'packets as in log.frame, without the version';

CREATE TABLE socketio.outbox_0 (
    id bigint DEFAULT nextval('socketio.outbox_id_seq'::regclass) NOT NULL,
    xid xid8 DEFAULT pg_current_xact_id() NOT NULL,
    at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    packets integer DEFAULT 1 NOT NULL,
    horizon xid8 DEFAULT pg_snapshot_xmax(pg_current_snapshot()) NOT NULL,
    slot smallint NOT NULL,
    frame bytea NOT NULL,
    CONSTRAINT outbox_packets CHECK (((packets >= 1) AND (packets <= 2048)))
)
WITH (autovacuum_enabled=off, toast.autovacuum_enabled=off);
ALTER TABLE ONLY socketio.outbox_0 ALTER COLUMN frame SET STORAGE EXTERNAL;

CREATE TABLE socketio.outbox_1 (
    id bigint DEFAULT nextval('socketio.outbox_id_seq'::regclass) NOT NULL,
    xid xid8 DEFAULT pg_current_xact_id() NOT NULL,
    at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    packets integer DEFAULT 1 NOT NULL,
    horizon xid8 DEFAULT pg_snapshot_xmax(pg_current_snapshot()) NOT NULL,
    slot smallint NOT NULL,
    frame bytea NOT NULL,
    CONSTRAINT outbox_packets CHECK (((packets >= 1) AND (packets <= 2048)))
)
WITH (autovacuum_enabled=off, toast.autovacuum_enabled=off);
ALTER TABLE ONLY socketio.outbox_1 ALTER COLUMN frame SET STORAGE EXTERNAL;

CREATE TABLE socketio.outbox_2 (
    id bigint DEFAULT nextval('socketio.outbox_id_seq'::regclass) NOT NULL,
    xid xid8 DEFAULT pg_current_xact_id() NOT NULL,
    at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    packets integer DEFAULT 1 NOT NULL,
    horizon xid8 DEFAULT pg_snapshot_xmax(pg_current_snapshot()) NOT NULL,
    slot smallint NOT NULL,
    frame bytea NOT NULL,
    CONSTRAINT outbox_packets CHECK (((packets >= 1) AND (packets <= 2048)))
)
WITH (autovacuum_enabled=off, toast.autovacuum_enabled=off);
ALTER TABLE ONLY socketio.outbox_2 ALTER COLUMN frame SET STORAGE EXTERNAL;

CREATE TABLE socketio.presence (
    entered_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    pid_hash text NOT NULL COLLATE pg_catalog."C",
    event text NOT NULL COLLATE pg_catalog."C",
    room text NOT NULL COLLATE pg_catalog."C",
    namespace text NOT NULL COLLATE pg_catalog."C",
    sid text NOT NULL COLLATE pg_catalog."C",
    state json NOT NULL
)
WITH (fillfactor='80');

CREATE SEQUENCE socketio.presence_change_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

CREATE TABLE socketio.presence_changes (
    id bigint DEFAULT nextval('socketio.presence_change_seq'::regclass) NOT NULL,
    namespace text NOT NULL COLLATE pg_catalog."C",
    event text NOT NULL COLLATE pg_catalog."C",
    room text NOT NULL COLLATE pg_catalog."C",
    sid text NOT NULL COLLATE pg_catalog."C",
    before json,
    state json
);

COMMENT ON COLUMN socketio.presence_changes.before IS 'the state before the change; null if the session was no member';

COMMENT ON COLUMN socketio.presence_changes.state IS 'the state after the change; null if the session is no member any more';

CREATE TABLE socketio.presence_topics (
    version bigint NOT NULL,
    announced_at timestamp with time zone NOT NULL,
    namespace text NOT NULL COLLATE pg_catalog."C",
    event text NOT NULL COLLATE pg_catalog."C",
    room text NOT NULL COLLATE pg_catalog."C"
);

COMMENT ON COLUMN socketio.presence_topics.version IS 'of the last announcement in the log';

CREATE TABLE socketio.session_data (
    pid_hash text NOT NULL COLLATE pg_catalog."C",
    key text NOT NULL COLLATE pg_catalog."C",
    value json NOT NULL
);

CREATE TABLE socketio.session_rooms (
    joined_at bigint NOT NULL,
    left_at bigint,
    pid_hash text NOT NULL COLLATE pg_catalog."C",
    room text NOT NULL COLLATE pg_catalog."C"
);

CREATE TABLE socketio.sessions (
    epoch bigint NOT NULL,
    opened bigint NOT NULL,
    covered bigint NOT NULL,
    covered_before bigint,
    covered_proven bigint,
    node bigint,
    expires_at timestamp with time zone,
    window_ms bigint NOT NULL,
    known boolean NOT NULL,
    checkpointed boolean NOT NULL,
    pid_hash text NOT NULL COLLATE pg_catalog."C",
    identity text DEFAULT ''::text NOT NULL,
    sid text NOT NULL,
    namespace text NOT NULL,
    initial_offset text NOT NULL,
    last text NOT NULL,
    last_before text,
    last_proven text,
    seen bigint[],
    CONSTRAINT sessions_held_or_parked CHECK (((node IS NULL) = (expires_at IS NOT NULL)))
)
WITH (fillfactor='70');

COMMENT ON COLUMN socketio.sessions.epoch IS 'the ownership epoch: a write with another epoch is refused';

COMMENT ON COLUMN socketio.sessions.covered_before IS 'after last_before nothing addressed the session up to here';

COMMENT ON COLUMN socketio.sessions.covered_proven IS 'after last_proven nothing addressed the session up to here';

COMMENT ON COLUMN socketio.sessions.node IS 'the node that owns the session; null while it is parked';

COMMENT ON COLUMN socketio.sessions.known IS 'true if no event after last, up to covered, addressed the session';

COMMENT ON COLUMN socketio.sessions.checkpointed IS 'covered extends to the checkpoint of the node';

COMMENT ON COLUMN socketio.sessions.pid_hash IS 'the SHA-256 of the private session id; the hash itself resumes no session';

COMMENT ON COLUMN socketio.sessions.identity IS 'the identity that the session is bound to: an HMAC with the private session id as key; empty for none';

COMMENT ON COLUMN socketio.sessions.initial_offset IS 'the offset that the client presented when the session was opened';

COMMENT ON COLUMN socketio.sessions.last IS 'the last offset sent to the client; empty for none';

COMMENT ON COLUMN socketio.sessions.last_before IS 'the value of last that was known before, for a client that did not receive the events in between';

COMMENT ON COLUMN socketio.sessions.last_proven IS 'the offset that the client presented at the last resume; null if it never came back';

COMMENT ON COLUMN socketio.sessions.seen IS 'ranges after opened that the client had received before: pairs of first and last position';

CREATE TABLE socketio.socketio_migrations (
    version bigint NOT NULL,
    dirty boolean NOT NULL
);

CREATE VIEW socketio.view_log AS
 SELECT m.low AS kept_after,
    COALESCE((((h.id * 4096) + h.packets) - 1), m.low) AS "position",
    h.at,
    ( SELECT (sum(pg_total_relation_size(t.relid)))::bigint AS sum
           FROM pg_partition_tree('socketio.log'::regclass) t(relid, parentrelid, isleaf, level)) AS bytes,
    m.schema_version
   FROM (socketio.meta m
     LEFT JOIN LATERAL ( SELECT l.id,
            l.packets,
            l.at
           FROM socketio.log l
          ORDER BY l.id DESC
         LIMIT 1) h ON (true));

COMMENT ON VIEW socketio.view_log IS 'the ends of the log, its size, and the version of the schema';

COMMENT ON COLUMN socketio.view_log.kept_after IS 'the newest position that is no longer kept';

COMMENT ON COLUMN socketio.view_log."position" IS 'the newest position';

COMMENT ON COLUMN socketio.view_log.at IS 'when the newest batch was appended; null if none is kept';

CREATE VIEW socketio.view_nodes AS
 SELECT n.name,
    n.id,
    n.started,
    n.seen,
    n."position",
    ( SELECT count(*) AS count
           FROM socketio.sessions s
          WHERE (s.node = n.id)) AS sessions,
    n.server,
    n.bound,
    GREATEST((( SELECT COALESCE(max(l.id), (0)::bigint) AS "coalesce"
           FROM socketio.log l) - (n."position" / 4096)), (0)::bigint) AS batches_behind,
    (clock_timestamp() - n.seen) AS silent,
    ((n.lease_ms)::double precision * '00:00:00.001'::interval) AS lease,
    ((n.retention_ms)::double precision * '00:00:00.001'::interval) AS retention,
    n.host,
    n.pid,
    n.version
   FROM socketio.nodes n;

COMMENT ON VIEW socketio.view_nodes IS 'the nodes that live or have not been found dead yet';

COMMENT ON COLUMN socketio.view_nodes.server IS 'as Server.Nodes has it; null for a node without a server';

COMMENT ON COLUMN socketio.view_nodes.batches_behind IS 'what was appended since the node was seen counts as well';

CREATE VIEW socketio.view_outbox AS
 SELECT outbox_waiting.waiting,
    outbox_waiting.oldest,
    outbox_waiting.bytes
   FROM socketio.outbox_waiting() outbox_waiting(waiting, oldest, bytes);

COMMENT ON VIEW socketio.view_outbox IS 'what was committed and is not in the log yet';

CREATE VIEW socketio.view_packets AS
 SELECT ((l.id * 4096) + p.index) AS "position",
    l.at,
    COALESCE((ARRAY['event'::text, 'volatile'::text, 'session_moved'::text, 'join'::text, 'leave'::text, 'disconnect'::text, 'request'::text, 'response'::text, 'node_left'::text, 'history'::text, 'watch'::text])[(p.kind + 1)], (p.kind)::text) AS kind,
    p.namespace,
    p.rooms,
    p.except_rooms,
    p.attachments,
    p.bytes,
        CASE
            WHEN (p.kind <> ALL (ARRAY[2, 7])) THEN socketio.name_text(p.payload)
            ELSE NULL::text
        END AS payload
   FROM (socketio.log l
     CROSS JOIN LATERAL socketio.frame_packets(l.frame) p(index, kind, namespace, rooms, except_rooms, payload, attachments, bytes));

COMMENT ON VIEW socketio.view_packets IS 'the log, packet by packet; ask for a range of positions: every frame in question is decoded';

COMMENT ON COLUMN socketio.view_packets.rooms IS 'the audience: sockets in any of these rooms, all if empty';

COMMENT ON COLUMN socketio.view_packets.payload IS 'null for session_moved, which names a session, and for response, which may contain handshakes and data of sockets';

CREATE VIEW socketio.view_presence AS
 SELECT p.namespace,
    p.event,
    p.room,
    p.sid,
    p.state,
    p.entered_at,
    n.name AS node,
    (s.node IS NULL) AS parked
   FROM ((socketio.presence p
     JOIN socketio.sessions s USING (pid_hash))
     LEFT JOIN socketio.nodes n ON ((n.id = s.node)));

COMMENT ON VIEW socketio.view_presence IS 'who is present in which room, as Presence.Members has it';

COMMENT ON COLUMN socketio.view_presence.parked IS 'the client is away, and may come back';

CREATE VIEW socketio.view_presence_rooms AS
 SELECT p.namespace,
    p.event,
    p.room,
    count(*) AS members
   FROM socketio.presence p
  GROUP BY p.namespace, p.event, p.room;

CREATE VIEW socketio.view_rooms AS
 SELECT s.namespace,
    r.room,
    count(*) AS sessions,
    count(s.node) AS connected
   FROM (socketio.session_rooms r
     JOIN socketio.sessions s USING (pid_hash))
  WHERE (r.left_at IS NULL)
  GROUP BY s.namespace, r.room;

CREATE VIEW socketio.view_sessions AS
 SELECT s.sid,
    s.namespace,
    n.name AS node,
    n.server,
    (s.node IS NULL) AS parked,
    s.expires_at,
    ((s.window_ms)::double precision * '00:00:00.001'::interval) AS recovery_window,
    s.opened,
    s.covered,
    COALESCE(( SELECT array_agg(r.room ORDER BY r.joined_at, r.room) AS array_agg
           FROM socketio.session_rooms r
          WHERE ((r.pid_hash = s.pid_hash) AND (r.left_at IS NULL))), '{}'::text[]) AS rooms,
    COALESCE(( SELECT array_agg(d.key ORDER BY d.key) AS array_agg
           FROM socketio.session_data d
          WHERE (d.pid_hash = s.pid_hash)), '{}'::text[]) AS data_keys
   FROM (socketio.sessions s
     LEFT JOIN socketio.nodes n ON ((n.id = s.node)));

COMMENT ON VIEW socketio.view_sessions IS 'what clients can come back to, without the room of its own';

COMMENT ON COLUMN socketio.view_sessions.covered IS 'position up to which the rooms are complete, if no checkpoint of the node says more';

ALTER TABLE ONLY socketio.log ATTACH PARTITION socketio.log_0 FOR VALUES IN ('0');

ALTER TABLE ONLY socketio.log ATTACH PARTITION socketio.log_1 FOR VALUES IN ('1');

ALTER TABLE ONLY socketio.log ATTACH PARTITION socketio.log_2 FOR VALUES IN ('2');

ALTER TABLE ONLY socketio.outbox ATTACH PARTITION socketio.outbox_0 FOR VALUES IN ('0');

ALTER TABLE ONLY socketio.outbox ATTACH PARTITION socketio.outbox_1 FOR VALUES IN ('1');

ALTER TABLE ONLY socketio.outbox ATTACH PARTITION socketio.outbox_2 FOR VALUES IN ('2');

INSERT INTO socketio.meta VALUES (0, 3783789959, '2026-11-28 08:56:34.619119+00', '\x5f6d47a4a2b1d38af75d62585ca2530723ba02136c6a90608f1f99ee8804b74e', 1, 1, 0, '2026-11-28 08:56:34.619147+00', 0, 4294967296, 0, '2026-11-28 08:56:34.619147+00', '725:725:', '725:725:', 0, 0, 0, NULL, NULL, 7713143585210424802, true);

INSERT INTO socketio.socketio_migrations VALUES (1, false);

SELECT pg_catalog.setval('socketio.log_id_seq', 1, false);

SELECT pg_catalog.setval('socketio.outbox_id_seq', 1, false);

SELECT pg_catalog.setval('socketio.presence_change_seq', 1, false);

ALTER TABLE ONLY socketio.answers
    ADD CONSTRAINT answers_pkey PRIMARY KEY (request, role);

ALTER TABLE ONLY socketio.emit_keys
    ADD CONSTRAINT emit_keys_pkey PRIMARY KEY (role, key);

ALTER TABLE ONLY socketio.log_0
    ADD CONSTRAINT log_0_batch UNIQUE (origin, seq);

ALTER TABLE ONLY socketio.log_0
    ADD CONSTRAINT log_0_pkey PRIMARY KEY (id);

ALTER TABLE ONLY socketio.log_1
    ADD CONSTRAINT log_1_batch UNIQUE (origin, seq);

ALTER TABLE ONLY socketio.log_1
    ADD CONSTRAINT log_1_pkey PRIMARY KEY (id);

ALTER TABLE ONLY socketio.log_2
    ADD CONSTRAINT log_2_batch UNIQUE (origin, seq);

ALTER TABLE ONLY socketio.log_2
    ADD CONSTRAINT log_2_pkey PRIMARY KEY (id);

ALTER TABLE ONLY socketio.meta
    ADD CONSTRAINT meta_pkey PRIMARY KEY (only_row);

ALTER TABLE ONLY socketio.node_marks
    ADD CONSTRAINT node_marks_pkey PRIMARY KEY (id);

ALTER TABLE ONLY socketio.nodes
    ADD CONSTRAINT nodes_pkey PRIMARY KEY (id);

ALTER TABLE ONLY socketio.presence
    ADD CONSTRAINT presence_pkey PRIMARY KEY (pid_hash, event, room);

ALTER TABLE ONLY socketio.presence_topics
    ADD CONSTRAINT presence_topics_pkey PRIMARY KEY (namespace, event, room);

ALTER TABLE ONLY socketio.session_data
    ADD CONSTRAINT session_data_pkey PRIMARY KEY (pid_hash, key);

ALTER TABLE ONLY socketio.session_rooms
    ADD CONSTRAINT session_rooms_pkey PRIMARY KEY (pid_hash, room, joined_at);

ALTER TABLE ONLY socketio.sessions
    ADD CONSTRAINT sessions_pkey PRIMARY KEY (pid_hash);

ALTER TABLE ONLY socketio.socketio_migrations
    ADD CONSTRAINT socketio_migrations_pkey PRIMARY KEY (version);

CREATE INDEX answers_expiry ON socketio.answers USING btree (expires_at);

CREATE INDEX emit_keys_at ON socketio.emit_keys USING btree (at);

CREATE INDEX log_relayed ON ONLY socketio.log USING btree (id) WHERE (snapshot IS NOT NULL);

CREATE INDEX log_0_id_idx ON socketio.log_0 USING btree (id) WHERE (snapshot IS NOT NULL);

CREATE INDEX log_1_id_idx ON socketio.log_1 USING btree (id) WHERE (snapshot IS NOT NULL);

CREATE INDEX log_2_id_idx ON socketio.log_2 USING btree (id) WHERE (snapshot IS NOT NULL);

CREATE INDEX outbox_transaction ON ONLY socketio.outbox USING btree (xid, id);

CREATE INDEX outbox_0_xid_id_idx ON socketio.outbox_0 USING btree (xid, id);

CREATE INDEX outbox_1_xid_id_idx ON socketio.outbox_1 USING btree (xid, id);

CREATE INDEX outbox_2_xid_id_idx ON socketio.outbox_2 USING btree (xid, id);

CREATE INDEX presence_changes_id ON socketio.presence_changes USING btree (id);

CREATE INDEX presence_changes_topic ON socketio.presence_changes USING btree (namespace, event, room, sid, id);

CREATE INDEX presence_topic ON socketio.presence USING btree (namespace, event, room, sid);

CREATE INDEX session_rooms_left ON socketio.session_rooms USING btree (left_at) WHERE (left_at IS NOT NULL);

CREATE INDEX sessions_expiry ON socketio.sessions USING btree (expires_at) WHERE (expires_at IS NOT NULL);

CREATE INDEX sessions_node ON socketio.sessions USING btree (node, pid_hash) WHERE (node IS NOT NULL);

ALTER INDEX socketio.log_relayed ATTACH PARTITION socketio.log_0_id_idx;

ALTER INDEX socketio.log_relayed ATTACH PARTITION socketio.log_1_id_idx;

ALTER INDEX socketio.log_relayed ATTACH PARTITION socketio.log_2_id_idx;

ALTER INDEX socketio.outbox_transaction ATTACH PARTITION socketio.outbox_0_xid_id_idx;

ALTER INDEX socketio.outbox_transaction ATTACH PARTITION socketio.outbox_1_xid_id_idx;

ALTER INDEX socketio.outbox_transaction ATTACH PARTITION socketio.outbox_2_xid_id_idx;

CREATE TRIGGER presence_changed AFTER INSERT OR DELETE OR UPDATE ON socketio.presence FOR EACH ROW EXECUTE FUNCTION socketio.presence_changed();

ALTER TABLE ONLY socketio.node_marks
    ADD CONSTRAINT node_marks_node FOREIGN KEY (id) REFERENCES socketio.nodes(id) ON DELETE CASCADE;

ALTER TABLE ONLY socketio.presence
    ADD CONSTRAINT presence_session FOREIGN KEY (pid_hash) REFERENCES socketio.sessions(pid_hash) ON DELETE CASCADE;

ALTER TABLE ONLY socketio.session_data
    ADD CONSTRAINT session_data_session FOREIGN KEY (pid_hash) REFERENCES socketio.sessions(pid_hash) ON DELETE CASCADE;

ALTER TABLE ONLY socketio.session_rooms
    ADD CONSTRAINT session_rooms_session FOREIGN KEY (pid_hash) REFERENCES socketio.sessions(pid_hash) ON DELETE CASCADE;

REVOKE ALL ON FUNCTION socketio.allow_emit(role regrole) FROM PUBLIC;

REVOKE ALL ON FUNCTION socketio.allow_operate(role regrole) FROM PUBLIC;

REVOKE ALL ON FUNCTION socketio.allow_read(role regrole) FROM PUBLIC;

REVOKE ALL ON FUNCTION socketio.answer_request(request bytea, answer bytea, keep_ms bigint) FROM PUBLIC;

REVOKE ALL ON FUNCTION socketio.claim_request(request bytea, content bytea, keep_ms bigint, idle_ms bigint, OUT claimed boolean, OUT same boolean, OUT answer bytea) FROM PUBLIC;

REVOKE ALL ON FUNCTION socketio.operate(kind integer, target text, room text, namespace text, except_rooms text[], key text, notify boolean) FROM PUBLIC;

REVOKE ALL ON FUNCTION socketio.disconnect(target text, namespace text, except_rooms text[], key text, notify boolean) FROM PUBLIC;

REVOKE ALL ON FUNCTION socketio.emit_event(everybody boolean, rooms text[], event text, payload jsonb, args jsonb, namespace text, except_rooms text[], attachments bytea[], key text, notify boolean) FROM PUBLIC;

REVOKE ALL ON FUNCTION socketio.emit(room text, event text, payload jsonb, args jsonb, namespace text, except_rooms text[], attachments bytea[], key text, notify boolean) FROM PUBLIC;

REVOKE ALL ON FUNCTION socketio.emit_all(event text, payload jsonb, args jsonb, namespace text, except_rooms text[], attachments bytea[], key text, notify boolean) FROM PUBLIC;

REVOKE ALL ON FUNCTION socketio.emit_many(rooms text[], event text, payloads jsonb[], other_rooms text[], namespace text, notify boolean, lenient boolean) FROM PUBLIC;

REVOKE ALL ON FUNCTION socketio.emit_packet(packet bytea, key text, notify boolean) FROM PUBLIC;

REVOKE ALL ON FUNCTION socketio.emit_row() FROM PUBLIC;

REVOKE ALL ON FUNCTION socketio.emit_statement() FROM PUBLIC;

REVOKE ALL ON FUNCTION socketio.emit_to(rooms text[], event text, payload jsonb, args jsonb, namespace text, except_rooms text[], attachments bytea[], key text, notify boolean) FROM PUBLIC;

REVOKE ALL ON FUNCTION socketio.join_room(target text, room text, namespace text, except_rooms text[], key text, notify boolean) FROM PUBLIC;

REVOKE ALL ON FUNCTION socketio.leave_room(target text, room text, namespace text, except_rooms text[], key text, notify boolean) FROM PUBLIC;

REVOKE ALL ON FUNCTION socketio.outbox_waiting() FROM PUBLIC;

REVOKE ALL ON FUNCTION socketio.set_sequence(sequence regclass, value bigint) FROM PUBLIC;

REVOKE ALL ON FUNCTION socketio.snapshot_token() FROM PUBLIC;

