package wire

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

const (
	algorithm  = "AWS4-HMAC-SHA256"
	timeFormat = "20060102T150405Z"
	// maxSkew is how far a client's clock may be off.
	maxSkew = 5 * time.Minute
	// HashHeader is where a request to S3 says what its body is.
	HashHeader = "X-Amz-Content-Sha256"
)

// A Signature is what a request says of who sent it, and for whom it is.
type Signature struct {
	AccessKey string
	Region    string
	Service   string

	date      time.Time
	headers   []string // signed, in lower case
	text      string
	presigned bool
	expires   time.Duration
}

// ReadSignature reads a request's signature, without checking it. It is nil
// when there is none that could be read.
func ReadSignature(r *http.Request) *Signature {
	fields := map[string]string{}
	s := &Signature{}
	if auth, ok := strings.CutPrefix(r.Header.Get("Authorization"), algorithm+" "); ok {
		for field := range strings.SplitSeq(auth, ",") {
			name, value, _ := strings.Cut(strings.TrimSpace(field), "=")
			fields[name] = value
		}
		fields["Date"] = r.Header.Get("X-Amz-Date")
	} else if q := r.URL.Query(); q.Get("X-Amz-Algorithm") == algorithm {
		s.presigned = true
		for _, name := range []string{"Credential", "SignedHeaders", "Signature", "Date"} {
			fields[name] = q.Get("X-Amz-" + name)
		}
		seconds, _ := strconv.Atoi(q.Get("X-Amz-Expires"))
		s.expires = time.Duration(seconds) * time.Second
	}
	scope := strings.Split(fields["Credential"], "/")
	date, err := time.Parse(timeFormat, fields["Date"])
	if len(scope) != 5 || err != nil {
		return nil
	}
	s.AccessKey, s.Region, s.Service = scope[0], scope[2], scope[3]
	s.date, s.text = date, fields["Signature"]
	s.headers = strings.Split(fields["SignedHeaders"], ";")
	return s
}

// Check verifies the signature of a request with this body against the secret
// of its access key; found says whether there is such a key. The body of S3 is
// not looked at: what the request says of it is signed, and for S3 to compare.
func (s *Signature) Check(r *http.Request, body []byte, secret string, found bool, now time.Time) *Error {
	p := ProtocolOf(s.Service)
	if !found {
		return authError(p, unknownKey)
	}
	if skew := now.Sub(s.date); skew < -maxSkew || skew > max(maxSkew, s.expires) {
		return authError(p, skewed)
	}
	want, err := s.again(r, body, secret)
	if err != nil || subtle.ConstantTimeCompare([]byte(want), []byte(s.text)) != 1 {
		return authError(p, badSignature)
	}
	return nil
}

// again signs what the client has signed, with the SDK's signer.
func (s *Signature) again(r *http.Request, body []byte, secret string) (string, error) {
	req := &http.Request{Method: r.Method, Host: r.Host, Header: http.Header{}, ContentLength: -1}
	u := *r.URL
	u.Host, u.Scheme = r.Host, "http"
	req.URL = &u
	for name, values := range r.Header {
		if slices.Contains(s.headers, strings.ToLower(name)) {
			req.Header[name] = values
		}
	}
	if slices.Contains(s.headers, "content-length") {
		req.ContentLength = r.ContentLength
		if !(req.ContentLength > 0) {
			req.Header.Set("Content-Length", "0")
		}
	}
	hash := r.Header.Get(HashHeader)
	if s.Service != "s3" {
		sum := sha256.Sum256(body)
		hash = hex.EncodeToString(sum[:])
	} else if s.presigned {
		hash = "UNSIGNED-PAYLOAD"
	}
	creds := aws.Credentials{AccessKeyID: s.AccessKey, SecretAccessKey: secret}
	plain := func(o *v4.SignerOptions) {
		o.DisableURIPathEscaping = s.Service == "s3"
		o.DisableHeaderHoisting = true
	}
	signer := v4.NewSigner(plain)
	if s.presigned {
		q := u.Query()
		for _, name := range []string{"Algorithm", "Credential", "SignedHeaders", "Signature", "Date"} {
			q.Del("X-Amz-" + name)
		}
		u.RawQuery = q.Encode()
		signed, _, err := signer.PresignHTTP(context.Background(), creds, req, hash, s.Service, s.Region, s.date)
		if err != nil {
			return "", err
		}
		again, err := url.Parse(signed)
		if err != nil {
			return "", err
		}
		return again.Query().Get("X-Amz-Signature"), nil
	}
	if err := signer.SignHTTP(context.Background(), creds, req, hash, s.Service, s.Region, s.date); err != nil {
		return "", err
	}
	return ReadSignature(req).text, nil
}

// ProtocolOf is the protocol of a service, by the name it is signed for.
func ProtocolOf(service string) Protocol {
	switch service {
	case "ec2":
		return EC2
	case "sts":
		return Query
	case "s3":
		return S3
	}
	return JSON
}

// NotSigned is the error for a request without a signature.
func NotSigned(p Protocol) *Error { return authError(p, notSigned) }

type authFault int

const (
	notSigned authFault = iota
	unknownKey
	badSignature
	skewed
)

// authError is how each kind of service words what is wrong with a signature.
func authError(p Protocol, f authFault) *Error {
	const (
		wrongKey       = "The security token included in the request is invalid."
		wrongSignature = "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method."
		validate       = "AWS was not able to validate the provided access credentials"
		expired        = "The difference between the request time and the current time is too large."
	)
	errs := map[Protocol][4]Error{
		EC2: {
			{"MissingAuthenticationToken", "Request is missing Authentication Token", http.StatusForbidden},
			{"AuthFailure", validate, http.StatusUnauthorized},
			{"AuthFailure", validate, http.StatusUnauthorized},
			{"RequestExpired", "Request has expired.", http.StatusBadRequest},
		},
		Query: {
			{"MissingAuthenticationToken", "Request is missing Authentication Token", http.StatusForbidden},
			{"InvalidClientTokenId", wrongKey, http.StatusForbidden},
			{"SignatureDoesNotMatch", wrongSignature, http.StatusForbidden},
			{"SignatureDoesNotMatch", "Signature expired: " + expired, http.StatusForbidden},
		},
		JSON: {
			{"MissingAuthenticationTokenException", "Missing Authentication Token", http.StatusBadRequest},
			{"UnrecognizedClientException", wrongKey, http.StatusBadRequest},
			{"InvalidSignatureException", wrongSignature, http.StatusBadRequest},
			{"InvalidSignatureException", "Signature expired: " + expired, http.StatusBadRequest},
		},
		S3: {
			{"AccessDenied", "Access Denied", http.StatusForbidden},
			{"InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records.", http.StatusForbidden},
			{"SignatureDoesNotMatch", wrongSignature, http.StatusForbidden},
			{"RequestTimeTooSkewed", expired, http.StatusForbidden},
		},
	}
	e := errs[p][f]
	return &e
}
