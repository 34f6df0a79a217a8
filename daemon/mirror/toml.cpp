// SPDX-License-Identifier: Apache-2.0
#include "mirror/toml.hpp"

namespace fallbackd::mirror {

Result<toml::table> parseToml(std::string_view text, const std::string& file) {
  try {
    return toml::parse(text, file);
  } catch (const toml::parse_error& error) {
    const auto& at = error.source().begin;
    return fail(Stage::config, Reason::invalid,
                file + ":" + std::to_string(at.line) + ":" + std::to_string(at.column) + ": " +
                    std::string(error.description()));
  }
}

}  // namespace fallbackd::mirror
