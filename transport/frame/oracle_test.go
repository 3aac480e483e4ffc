package frame

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// A verdict is the result of engine.io-parser for a payload.
type verdict struct {
	Packets []struct {
		Type string
		Data any
	}
	Again string
}

// TestOracle_JavaScript compares with engine.io-parser: a payload that both accept has the same packets, also encoded
// again, and a payload that is refused here is an error there, too. It needs Node and the npm package of the integration tests:
//
//	npm ci --prefix integration/js
func TestOracle_JavaScript(t *testing.T) {
	t.Parallel()
	dir, err := filepath.Abs("../../integration/js")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "node_modules/engine.io-parser")); err != nil {
		t.Skip("the official parser is not installed: npm ci in integration/js, or make setup")
	}
	payloads := payloads(20_000)
	var questions bytes.Buffer
	for _, p := range payloads {
		if err := json.NewEncoder(&questions).Encode(p); err != nil {
			t.Fatal(err)
		}
	}
	node := exec.CommandContext(t.Context(), "node", "testdata/oracle.js", dir)
	node.Stdin, node.Stderr = &questions, os.Stderr
	out, err := node.Output()
	if err != nil {
		t.Fatal("node: ", err)
	}
	answers := json.NewDecoder(bytes.NewReader(out))
	both := 0
	for _, p := range payloads {
		var v verdict
		if err := answers.Decode(&v); err != nil {
			t.Fatal(err)
		}
		if compare(t, p, v) {
			both++
		}
	}
	t.Logf("%d payloads, %d accepted by both", len(payloads), both)
	if both < len(payloads)/10 {
		t.Error("too few payloads were accepted for a comparison")
	}
}

// compare reports whether both have accepted the payload.
func compare(t *testing.T, payload string, v verdict) bool {
	t.Helper()
	var ours []Packet
	for p, err := range Payload([]byte(payload), 1000) {
		if err != nil {
			last := v.Packets[len(v.Packets)-1]
			if last.Type != "error" {
				t.Errorf("%q: %v, though JavaScript takes it", payload, err)
			}
			return false
		}
		ours = append(ours, p)
	}
	if len(ours) != len(v.Packets) {
		t.Errorf("%q: %d packets, JavaScript %d", payload, len(ours), len(v.Packets))
		return false
	}
	for i, p := range ours {
		want := v.Packets[i]
		var data any = string(p.Data)
		if p.Binary {
			data = map[string]any{"binary": base64.StdEncoding.EncodeToString(p.Data)}
		}
		if want.Data == nil {
			want.Data = "" // of a packet without data
		}
		if p.Type.String() != want.Type || !reflect.DeepEqual(data, want.Data) {
			t.Errorf("%q: packet %d is %s %v, JavaScript %s %v", payload, i, p.Type, data, want.Type, want.Data)
		}
	}
	again, err := AppendPayload(nil, ours...)
	if err != nil || string(again) != v.Again {
		t.Errorf("%q: encoded again %q, %v, JavaScript %q", payload, again, err, v.Again)
	}
	return true
}

// payloads returns payloads of significant pieces, most of them malformed.
func payloads(n int) []string {
	pieces := []string{"\x1e", "0", "1", "2", "3", "4", "5", "6", "7", "b", "AQI=", "AQID", "é", "😀", "probe", `{"a":1}`, " ", "4x", "bAQ==", "=", "-_", "\u0141", "A"}
	r := rand.New(rand.NewPCG(1, 0))
	all := []string{"4", "b", "4a\x1e4b", "2probe\x1e6", "bAQID\x1e4é", "\x1e", ""}
	for len(all) < n {
		var b strings.Builder
		for range 1 + r.IntN(6) {
			b.WriteString(pieces[r.IntN(len(pieces))])
		}
		all = append(all, b.String())
	}
	return all
}
