package socketio

import "testing"

// TestANamespaceHasOneSocketOfAConnection: until the client has been told that it is over.
func TestANamespaceHasOneSocketOfAConnection(t *testing.T) {
	t.Parallel()
	c, n := &conn{}, &Namespace{}
	first, second := &Socket{namespace: n, conn: c}, &Socket{namespace: n, conn: c}
	if !c.add(first) || c.add(second) {
		t.Error("there are two")
	}
	c.tells(first)
	if !c.add(second) {
		t.Error("one that is over keeps the next one away")
	}
	if c.forget(first); c.add(&Socket{namespace: n}) {
		t.Error("the second was forgotten with the first")
	}
}
