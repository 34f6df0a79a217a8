// SPDX-License-Identifier: Apache-2.0
// The table of pull errors, causes.tsv, and how its rows become texts. The rows hold marks where containerd
// writes the reference or something made of it, so that any reference can be put into every row.
#pragma once

#include "domain/cause.hpp"
#include "watcher/classify.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace fallbackd::watcher {

struct CauseCase {
  std::string name;
  std::string versions;  // the containerd or library that writes it
  int code = 0;
  std::optional<Cause> cause;  // empty: "none", ask again
  std::string text;            // with marks, without shorthands
};

/// Every row of the file; a row that cannot be read ends the test.
std::vector<CauseCase> causeCases();

/// How the reference stands in quotes: as Go escapes it, or as it is.
enum class Quotes : std::uint8_t { escaped, bare };

/// The text as containerd would write it for this reference; the text may have marks and shorthands.
std::string expand(const std::string& text, const std::string& reference, Quotes quotes = Quotes::escaped);

std::optional<Cause> causeOf(const CauseCase& row, const std::string& reference,
                             Quotes quotes = Quotes::escaped);

/// As Go's %q writes a string.
std::string goQuoted(std::string_view text);

std::string nameOf(std::optional<Cause> cause);

}  // namespace fallbackd::watcher
