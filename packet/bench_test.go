package packet

import (
	"encoding/json"
	"strings"
	"testing"
)

var (
	smallEvent  = []byte(`2["chat message",{"room":"lobby","text":"hello there, how are you?","n":12345}]`)
	largeEvent  = []byte(`2/shop,["rows",[` + strings.Repeat(`{"id":123456,"name":"a \"name\"","ok":true,"v":[1.5,2,3]},`, 500) + `null]]`)
	binaryEvent = []byte(`51-["file",{"name":"a.txt","body":{"_placeholder":true,"num":0}}]`)
)

func BenchmarkDecode(b *testing.B) {
	for name, text := range map[string][]byte{"small": smallEvent, "large": largeEvent} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(text)))
			var d Decoder
			for b.Loop() {
				if _, err := d.Text(text); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("binary", func(b *testing.B) {
		b.ReportAllocs()
		var d Decoder
		attachment := make([]byte, 100)
		for b.Loop() {
			if _, err := d.Text(binaryEvent); err != nil {
				b.Fatal(err)
			}
			if p, err := d.Binary(attachment); p == nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkValidation measures the two passes over the JSON: json.Valid and the checks of
// this package.
func BenchmarkValidation(b *testing.B) {
	for name, text := range map[string][]byte{"small": smallEvent, "large": largeEvent} {
		body := text[strings.IndexByte(string(text), '['):]
		b.Run("depth/"+name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				if nestsDeeper(body, 128) {
					b.Fatal()
				}
			}
		})
		b.Run("json.Valid/"+name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				if !json.Valid(body) {
					b.Fatal()
				}
			}
		})
	}
}

func BenchmarkAppendEvent(b *testing.B) {
	b.ReportAllocs()
	args := smallEvent[1:]
	buf := make([]byte, 0, 256)
	for b.Loop() {
		buf = AppendEvent(buf[:0], "/chat", 0, args, "AAAAAAAAAAAB")
	}
}

func BenchmarkAppendText(b *testing.B) {
	b.ReportAllocs()
	p := &Packet{Type: Event, Namespace: "/chat", ID: 12, HasID: true, Data: smallEvent[1:]}
	buf := make([]byte, 0, 256)
	for b.Loop() {
		buf = p.AppendText(buf[:0])
	}
}

func BenchmarkSplitArgs(b *testing.B) {
	b.ReportAllocs()
	data := smallEvent[1:]
	var args []json.RawMessage
	for b.Loop() {
		var err error
		if args, err = SplitArgs(data, args[:0]); err != nil {
			b.Fatal(err)
		}
		if _, err = EventName(args[0]); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPlaceholder(b *testing.B) {
	b.ReportAllocs()
	raw := AppendPlaceholder(nil, 3)
	for b.Loop() {
		if _, ok := Placeholder(raw); !ok {
			b.Fatal()
		}
	}
}
