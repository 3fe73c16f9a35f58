//go:build linux

package initd

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"strings"
)

// A script is a part of the user data that is run.
type script struct {
	text []byte
	// boothook is run with each boot and before any unit is started; other
	// scripts once, in the first boot, when the units have been.
	boothook bool
}

// maxUserData bounds what compressed user data may become.
const maxUserData = 16 << 20

// parseUserData finds the scripts in user data, as cloud-init does: a script,
// or a MIME message of several parts; either may be compressed by gzip. It also
// returns what it passes over, in words.
func parseUserData(data []byte) (scripts []script, passedOver []string, err error) {
	data, err = unzip(data)
	if err != nil {
		return nil, nil, err
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, nil, nil
	}
	if s, ok := asScript(data); ok {
		return []script{s}, nil, nil
	}
	message, err := mail.ReadMessage(bytes.NewReader(data))
	if err != nil {
		return nil, []string{"user data that is neither a script nor MIME: " + firstLine(data)}, nil
	}
	return parseMIME(message)
}

func asScript(data []byte) (script, bool) {
	switch {
	case bytes.HasPrefix(data, []byte("#!")):
		return script{text: data}, true
	case bytes.HasPrefix(data, []byte("#cloud-boothook")):
		_, rest, _ := bytes.Cut(data, []byte("\n"))
		return script{text: rest, boothook: true}, true
	}
	return script{}, false
}

func parseMIME(message *mail.Message) (scripts []script, passedOver []string, err error) {
	kind, params, err := mime.ParseMediaType(message.Header.Get("Content-Type"))
	if err != nil || !strings.HasPrefix(kind, "multipart/") {
		return nil, []string{"user data of type " + kind}, nil
	}
	for parts := multipart.NewReader(message.Body, params["boundary"]); ; {
		part, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			return scripts, passedOver, nil
		}
		if err != nil {
			return nil, nil, fmt.Errorf("read user data: %w", err)
		}
		body, err := decodePart(part)
		if err != nil {
			return nil, nil, fmt.Errorf("read user data: %w", err)
		}
		kind, _, _ := mime.ParseMediaType(part.Header.Get("Content-Type")) // no type is none of these
		s, ok := asScript(body)
		switch {
		case kind == "text/cloud-boothook" && !s.boothook:
			scripts = append(scripts, script{text: body, boothook: true})
		case ok:
			scripts = append(scripts, s)
		default:
			passedOver = append(passedOver, fmt.Sprintf("a part of the user data of type %s: %s", kind, firstLine(body)))
		}
	}
}

func decodePart(part *multipart.Part) ([]byte, error) {
	var r io.Reader = part
	if strings.EqualFold(part.Header.Get("Content-Transfer-Encoding"), "base64") {
		r = base64.NewDecoder(base64.StdEncoding, part)
	}
	body, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	return unzip(body)
}

func unzip(data []byte) ([]byte, error) {
	if !bytes.HasPrefix(data, []byte{0x1f, 0x8b}) {
		return data, nil
	}
	r, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("unzip user data: %w", err)
	}
	out, err := io.ReadAll(io.LimitReader(r, maxUserData))
	if err != nil {
		return nil, fmt.Errorf("unzip user data: %w", err)
	}
	return out, nil
}

func firstLine(data []byte) string {
	line, _, _ := bytes.Cut(bytes.TrimSpace(data), []byte("\n"))
	return string(line[:min(len(line), 80)])
}
