drop view view_presence, view_presence_rooms, view_log, view_packets, view_sessions, view_nodes, view_outbox, view_rooms;

-- With the triggers on the application's tables.
drop function emit_statement, emit_row cascade;

drop function
    notification, meta_lost, require_read_committed, advance_log_sequence, set_sequence, switch_slot, server_identity,
    relayed, relayed_here, pending, outbox_due, relay_pending, relay_outbox, append, empty_slot, rotate_outbox,
    wire_name, packet_head, outbox_caller, refuse_full, outbox_slot_now, advance_outbox_sequence, check_event, use_key,
    check_audience, check_room, has_placeholder, check_placeholders, put_packet, emit_event, operate,
    join_room, leave_room, disconnect, emit, emit_to, emit_all, emit_many, emit_packet, snapshot_token,
    presence_due, delete_presence_changes, announce_presence, forget_presence, seen_after, fill_room, change_event, change_batches, watched_table, trigger_failed, attach_trigger, detach_trigger,
    claim_request, answer_request, outbox_waiting, require_owner, allow_emit, allow_operate, check_fence, check_mark, end_node, frame_packets, name_text, allow_read;

drop table presence, presence_changes, presence_topics, session_data, session_rooms, meta, log, append_lock, node_marks, nodes, sessions, outbox, emit_keys, answers;
drop function presence_changed;
drop sequence log_id_seq, outbox_id_seq, presence_change_seq;
