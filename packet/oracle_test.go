package packet

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

var oracleSeed = flag.Uint64("oracle.seed", 1, "seed of the corpus that is shown to the JavaScript parser")

// divergence is a kind of text that socket.io-parser accepts and this package refuses.
// The opposite must not exist.
type divergence struct {
	name     string
	reason   string
	explains func(text string, err error) bool
}

var divergences = []divergence{
	{
		"white space within an id",
		"the id is NaN in JavaScript, and so is that of the answer",
		func(text string, err error) bool { return errors.Is(err, ErrAckID) && brokenNumber.MatchString(text) },
	},
	{
		"empty text",
		"no session of the official server gets this far: Engine.IO passes on undefined, which is an error",
		func(text string, err error) bool { return text == "" && errors.Is(err, ErrType) },
	},
	{
		"count of attachments in another notation",
		"Number('0x1') is 1, but the protocol's count is made of digits",
		func(text string, err error) bool {
			count, _, _ := strings.Cut(text[min(1, len(text)):], "-")
			return errors.Is(err, ErrAttachments) && !onlyDigits.MatchString(count)
		},
	},
	{
		"ack id above 2^53-1",
		"JavaScript rounds it, and would answer another call",
		func(text string, err error) bool { return errors.Is(err, ErrAckID) && longNumber.MatchString(text) },
	},
	{
		"placeholder that is not exactly one",
		"JavaScript takes any object that is marked, and puts undefined in the place of number 0.5",
		func(_ string, err error) bool { return errors.Is(err, ErrPlaceholder) },
	},
	{
		"our limits",
		"JavaScript has no limit for the length of a namespace and for nesting",
		func(text string, err error) bool { return errors.Is(err, ErrLimit) && len(text) > 128 },
	},
}

var (
	onlyDigits   = regexp.MustCompile(`^[0-9]*$`)
	brokenNumber = regexp.MustCompile(`[0-9][\s\x{feff}\p{Z}]+[0-9]`)
	longNumber   = regexp.MustCompile(`[0-9]{16}`)
)

// TestOracle_Decode needs Node and the npm package socket.io-parser 4.2.7 of the
// integration tests:
//
//	npm ci --prefix integration/js
func TestOracle_Decode(t *testing.T) {
	t.Parallel()
	corpus := oracleCorpus(50_000)
	explained := make(map[string]int)
	accepted, failures := 0, 0
	for i, v := range consultOracle(t, corpus) {
		p, err := decodeWithNumberedAttachments(corpus[i])
		if err == nil && v.Error == "" {
			accepted++
		}
		name, complaint := compare(corpus[i], p, err, v)
		if name != "" {
			explained[name]++
		}
		if complaint != "" {
			t.Errorf("%q: %s (Go error %v, JavaScript %+v)", corpus[i], complaint, err, v)
			failures++
		}
		if failures == 20 {
			t.Fatal("and so on")
		}
	}
	t.Logf("%d texts, %d accepted by both, refused by Go only: %v", len(corpus), accepted, explained)
	for _, d := range divergences {
		if explained[d.name] == 0 {
			t.Errorf("divergence %q did not occur: remove it or extend the corpus", d.name)
		}
	}
}

func TestOracle_Encode(t *testing.T) {
	t.Parallel()
	var corpus []string
	for _, g := range golden {
		corpus = append(corpus, g.text)
	}
	for i, v := range consultOracle(t, corpus) {
		if v.Text != corpus[i] {
			t.Errorf("%s: JavaScript writes %s", corpus[i], v.Text)
		}
	}
}

// verdict is the result of the JavaScript parser for a text.
type verdict struct {
	Error string // not empty if it refuses
	Type  Type   // never a binary one: the parser changes those to EVENT and ACK
	Nsp   string
	ID    string // as JavaScript prints it
	Same  bool   // the data is equal to ours
	Text  string // the packet encoded again
}

// compare returns the name of the divergence that explains a difference, or a complaint
// if there is none.
func compare(text string, p *Packet, err error, v verdict) (explanation, complaint string) {
	if v.Error != "" {
		if err == nil {
			return "", "accepted, though JavaScript refuses"
		}
		return "", ""
	}
	if err != nil {
		for _, d := range divergences {
			if d.explains(text, err) {
				return d.name, ""
			}
		}
		return "", "refused, though JavaScript accepts"
	}
	id := ""
	if p.HasID {
		id = strconv.FormatUint(p.ID, 10)
	}
	switch {
	case p.Type.carrying(0) != v.Type:
		return "", "another type: " + p.Type.String()
	case p.Namespace != v.Nsp:
		return "", "another namespace: " + p.Namespace
	case id != v.ID:
		return "", "another id: " + id
	case !v.Same:
		return "", "other data: " + string(p.Data)
	}
	return "", ""
}

func decodeWithNumberedAttachments(text string) (*Packet, error) {
	var attachments [][]byte
	for i := range 10 {
		attachments = append(attachments, []byte{byte(i)})
	}
	return decode(Limits{}, text, attachments)
}

// consultOracle runs the JavaScript parser on every text of the corpus.
func consultOracle(t *testing.T, corpus []string) []verdict {
	t.Helper()
	dir, err := filepath.Abs("../integration/js")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "node_modules/socket.io-parser")); err != nil {
		t.Skip("the official parser is not installed: npm ci in integration/js, or make setup")
	}
	var questions bytes.Buffer
	ask := json.NewEncoder(&questions)
	for _, text := range corpus {
		question := struct {
			Text string  `json:"text"`
			Data *string `json:"data"`
		}{Text: text}
		if p, err := decodeWithNumberedAttachments(text); err == nil && p.Data != nil {
			data := string(p.Data)
			question.Data = &data
		}
		if err := ask.Encode(question); err != nil {
			t.Fatal(err)
		}
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

// tokens are inserted by the mutations: text with a meaning in the header, in JSON, or for
// Number() in JavaScript.
var tokens = []string{
	"0", "1", "2", "3", "4", "5", "6", "7", "10", "11", "51-", "61-", "9007199254740991", "9007199254740992",
	"-", "/", ",", "/n,", ".0", "e0", "0x", "+", "0.5", "1e3", "-0",
	"[", "]", "{", "}", ":", `"`, `\`, "null", "true", "false", "[]", "{}", `""`, `"a"`, `["a"]`, `{"message":"no"}`,
	`{"_placeholder":true,"num":0}`, `{"num":1,"_placeholder":true}`, `"_placeholder":true`, `"num":`, `\u005f`, `\ud800`, `\x`,
	`"__proto__":`, "connect", "disconnecting", `\u0063`, "newListener",
	" ", "\t", "\n", "\x00", "\u00a0", "\ufeff", "\u2028", "\u0085", "é", "😀", "２",
}

// oracleCorpus returns the golden and the malformed texts, and mutations of them, without
// texts that are not UTF-8.
func oracleCorpus(size int) []string {
	var good, bad []string
	for _, g := range golden {
		good = append(good, g.text)
	}
	for _, row := range malformed {
		if utf8.ValidString(row.text) && len(row.text) < 10_000 {
			bad = append(bad, row.text)
		}
	}
	corpus := append(good, bad...)
	r := rand.New(rand.NewPCG(*oracleSeed, 0))
	for len(corpus) < size {
		seeds := good // most mutations of malformed texts are malformed
		if r.IntN(4) == 0 {
			seeds = bad
		}
		text := seeds[r.IntN(len(seeds))]
		for range 1 + r.IntN(3) {
			text = mutate(r, text, good[r.IntN(len(good))])
		}
		if utf8.ValidString(text) {
			corpus = append(corpus, text)
		}
	}
	return corpus
}

func mutate(r *rand.Rand, text, other string) string {
	from := r.IntN(len(text) + 1)
	if r.IntN(2) == 0 {
		from = min(from, r.IntN(8)) // so that some mutations are in the short header
	}
	to := from + min(r.IntN(4), len(text)-from)
	switch r.IntN(5) {
	case 0: // remove
		return text[:from] + text[to:]
	case 1: // replace
		return text[:from] + tokens[r.IntN(len(tokens))] + text[to:]
	case 2: // continue with another text
		return text[:from] + other[min(from, len(other)):]
	default: // insert
		return text[:from] + tokens[r.IntN(len(tokens))] + text[from:]
	}
}
