package socketio

import "testing"

// TestConnect_SecondTimeToOneNamespace: until the client was sent DISCONNECT.
func TestConnect_SecondTimeToOneNamespace(t *testing.T) {
	t.Parallel()
	c, n := &conn{}, &Namespace{}
	first, second := &Socket{namespace: n, conn: c}, &Socket{namespace: n, conn: c}
	if c.add(first); c.member("") != first {
		t.Error("there is none")
	}
	if c.markDisconnectSent(first); c.member("") != nil {
		t.Error("one that is over keeps the next one away")
	}
	c.add(second)
	if c.forget(first); c.member("") != second {
		t.Error("the second was forgotten with the first")
	}
}
