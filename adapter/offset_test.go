package adapter_test

import (
	"testing"

	"github.com/pgsocket/socketio/adapter"
)

func TestOffset_RoundTrip(t *testing.T) {
	t.Parallel()
	for _, o := range []adapter.Offset{
		{}, {Log: 1}, {Log: 1, Position: 1}, {Log: 1<<32 - 1, Position: 1<<63 - 1, Check: 1<<32 - 1},
	} {
		got, err := adapter.ParseOffset(o.String())
		if err != nil || got != o {
			t.Errorf("ParseOffset of %+v: %+v, %v", o, got, err)
		}
	}
}

func FuzzParseOffset(f *testing.F) {
	f.Add("")
	f.Add("AAAAAQAAAAAAAAABAAAAAA")
	f.Add("AAAAAQAAAAAAAAABAAAAAB")
	f.Add("hello")
	f.Fuzz(func(t *testing.T, text string) {
		o, err := adapter.ParseOffset(text)
		if err == nil && o.String() != text {
			t.Errorf("ParseOffset(%q) = %+v, whose text is %q", text, o, o)
		}
	})
}

func TestAudience_Includes(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		audience adapter.Audience
		rooms    []string
		want     bool
	}{
		{adapter.Audience{}, nil, true},
		{adapter.Audience{Rooms: []string{"a", "b"}}, []string{"b"}, true},
		{adapter.Audience{Rooms: []string{"a"}}, []string{"b"}, false},
		{adapter.Audience{Except: []string{"a"}}, []string{"a", "b"}, false},
		{adapter.Audience{Except: []string{"a"}}, nil, true},
		{adapter.Audience{Rooms: []string{"b"}, Except: []string{"a"}}, []string{"a", "b"}, false},
	} {
		if got := row.audience.Includes(row.rooms); got != row.want {
			t.Errorf("%+v includes %v: %t, want %t", row.audience, row.rooms, got, row.want)
		}
	}
}
