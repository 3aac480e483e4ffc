package msgpack_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/pgsocket/socketio/msgpack"
	"github.com/pgsocket/socketio/packet"
)

// A verdict is the result of the official parser for a message.
type verdict struct {
	Error       string
	Type        packet.Type
	Nsp         string
	ID          *float64
	Data        any
	Attachments []string
}

// TestOracle_JavaScript compares with socket.io-msgpack-parser: a message that it refuses
// is refused here, and a message that both accept is the same packet. The messages are
// its own, mutations of them, and messages of this package. It needs Node and the npm
// package of the integration tests:
//
//	npm ci --prefix integration/js
func TestOracle_JavaScript(t *testing.T) {
	t.Parallel()
	corpus := corpus(t, 20_000)
	accepted := 0
	for i, v := range consult(t, corpus) {
		p, err := decode(corpus[i])
		switch {
		case err != nil:
			if i < len(golden) && golden[i].want != "" {
				t.Errorf("%x: %v", corpus[i], err)
			}
		case v.Error != "":
			t.Errorf("%x: accepted as %s, JavaScript refuses it: %s", corpus[i], show(p), v.Error)
		default:
			accepted++
			if complaint := differ(p, v); complaint != "" {
				t.Errorf("%x: %s, JavaScript %+v: %s", corpus[i], show(p), v, complaint)
			}
		}
		if t.Failed() && accepted > 1000 {
			t.Fatal("and so on")
		}
	}
	t.Logf("%d messages, %d accepted by both", len(corpus), accepted)
	if accepted < len(corpus)/10 {
		t.Error("too few messages were accepted for a comparison")
	}
}

func differ(p *packet.Packet, v verdict) string {
	var data any
	if len(p.Data) > 0 {
		if err := json.Unmarshal(p.Data, &data); err != nil {
			return err.Error()
		}
	}
	kind := p.Type
	if kind == packet.BinaryEvent || kind == packet.BinaryAck {
		kind -= packet.BinaryEvent - packet.Event // the text form has another type for binary data
	}
	attachments := []string{}
	for _, a := range p.Attachments {
		attachments = append(attachments, hex.EncodeToString(a))
	}
	switch {
	case kind != v.Type:
		return "type"
	case p.Namespace != v.Nsp:
		return "namespace"
	case p.HasID != (v.ID != nil) || p.HasID && float64(p.ID) != *v.ID:
		return "id"
	case !reflect.DeepEqual(data, v.Data):
		return "data"
	case fmt.Sprint(attachments) != fmt.Sprint(v.Attachments):
		return "attachments"
	}
	return ""
}

// corpus returns the golden messages, those of this package for the same packets, and
// mutations.
func corpus(t *testing.T, size int) [][]byte {
	t.Helper()
	var all [][]byte
	for _, g := range golden {
		m, err := hex.DecodeString(g.message)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, m)
	}
	for _, m := range all {
		p, err := decode(m)
		if err != nil {
			continue
		}
		ours, err := msgpack.Parser{}.Encode(p)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, ours[0].Data)
	}
	seeds := len(all)
	r := rand.New(rand.NewPCG(1, 0))
	for len(all) < size {
		m := bytes.Clone(all[r.IntN(seeds)])
		for range 1 + r.IntN(2) {
			m[r.IntN(len(m))] = mutation(r)
		}
		all = append(all, m)
	}
	return all
}

// mutation returns a byte that does not announce a length of 32 bits, for which the
// official parser would loop over billions of missing elements.
func mutation(r *rand.Rand) byte {
	for {
		switch b := byte(r.IntN(256)); b {
		case 0xc6, 0xc9, 0xdb, 0xdd, 0xdf:
		default:
			return b
		}
	}
}

func consult(t *testing.T, corpus [][]byte) []verdict {
	t.Helper()
	dir, err := filepath.Abs("../integration/js")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "node_modules/socket.io-msgpack-parser")); err != nil {
		t.Skip("the official parser is not installed: npm ci in integration/js, or make setup")
	}
	var questions bytes.Buffer
	for _, m := range corpus {
		fmt.Fprintf(&questions, "%q\n", hex.EncodeToString(m))
	}
	node := exec.CommandContext(t.Context(), "node", "testdata/oracle.js", dir)
	node.Stdin = &questions
	node.Stderr = os.Stderr
	out, err := node.Output()
	if err != nil {
		t.Fatal("node: ", err)
	}
	verdicts := make([]verdict, len(corpus))
	answers := json.NewDecoder(bytes.NewReader(out))
	for i := range verdicts {
		if err := answers.Decode(&verdicts[i]); err != nil {
			t.Fatalf("answer %d: %v", i, err)
		}
	}
	return verdicts
}
