package strategies

import (
	"slices"
	"strings"

	"github.com/loads/loads/internal/source"
)

// masked stands for the value of a secret.
const masked = "***"

// minSecret is the length in bytes from which a secret is looked for within
// other values. Shorter ones stand in too much that is no secret.
const minSecret = 4

// secretWords are the parts of a name, between underscores, that mark a secret.
const secretWords = " TOKEN TOKENS SECRET SECRETS PASSWORD PASSWORDS PASSWD PASSPHRASE PASS PWD " +
	"CREDENTIAL CREDENTIALS APIKEY PRIVATEKEY ACCESSKEY SECRETKEY "

// secretPairs are two neighbouring parts that mark a secret.
const secretPairs = " PRIVATE_KEY API_KEY ACCESS_KEY SECRET_KEY SIGNING_KEY ENCRYPTION_KEY AUTH_KEY SSH_KEY "

// isSecret reports whether a variable of that name holds a secret, by the words
// between underscores (or dots and hyphens): DB_PASSWORD and api_key do,
// TOKENIZER does not. Case doesn't count.
func isSecret(name string) bool {
	words := strings.FieldsFunc(strings.ToUpper(name), func(r rune) bool {
		return r == '_' || r == '-' || r == '.'
	})
	for i, w := range words {
		if strings.Contains(secretWords, " "+w+" ") {
			return true
		}
		if i > 0 && strings.Contains(secretPairs, " "+words[i-1]+"_"+w+" ") {
			return true
		}
	}
	return false
}

// Masked returns a copy of e in which the values of secrets are "***", also
// where they stand within other values. Secrets of more, which may have been
// interpolated into e, are masked there as well.
func (e Environment) Masked(more ...Variable) Environment {
	if e == nil {
		return nil
	}
	var pairs []string
	for _, v := range slices.Concat(e, more) {
		if isSecret(v.Name) && len(v.Value) >= minSecret && v.Value != masked {
			pairs = append(pairs, v.Value, masked)
		}
	}
	within := strings.NewReplacer(pairs...)
	out := make(Environment, len(e))
	for i, v := range e {
		if isSecret(v.Name) {
			v.Value = masked
		} else {
			v.Value = within.Replace(v.Value)
		}
		out[i] = v
	}
	return out
}

// showOf is source.Show for the value of the variable name: secrets are not shown.
func showOf(name, value string) string {
	if isSecret(name) && value != "" {
		return masked
	}
	return source.Show(value)
}
