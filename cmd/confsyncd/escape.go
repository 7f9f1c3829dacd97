package main

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// visible writes the content of a file as a terminal may get it: what could move the
// cursor, change colours or the direction of text, or is no UTF-8, is shown as an escape.
// Tabs and the ends of lines stay.
func visible(content string) string {
	harmless := func(r rune) bool { return r == '\n' || r == '\t' || r != utf8.RuneError && unicode.IsPrint(r) }
	if strings.IndexFunc(content, func(r rune) bool { return !harmless(r) }) < 0 {
		return content
	}
	var b strings.Builder
	for len(content) > 0 {
		r, n := utf8.DecodeRuneInString(content)
		switch {
		case r == utf8.RuneError && n == 1, r < utf8.RuneSelf && !harmless(r) && r != '\r':
			fmt.Fprintf(&b, `\x%02x`, content[0])
		case r == '\r':
			b.WriteString(`\r`)
		case !harmless(r) && r != utf8.RuneError:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteString(content[:n])
		}
		content = content[n:]
	}
	return b.String()
}
