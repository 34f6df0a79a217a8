// SPDX-License-Identifier: Apache-2.0
// Cases from the documented behaviour of kubelet's own expansion.
#include "kube/expand.hpp"

#include <map>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace fallbackd::kube {
namespace {

std::string expanded(std::string_view input) {
  static const std::map<std::string, std::string, std::less<>> kVariables{
      {"ONE", "1"}, {"TWO", "2"}, {"REF", "$(ONE)"}, {"DOLLARS", "$$"}, {"EMPTY", ""}, {"", "nameless"}};
  return expand(input, [](std::string_view name) {
    const auto found = kVariables.find(name);
    return found == kVariables.end() ? asReference(name) : found->second;
  });
}

TEST(Expand, AsKubeletDoes) {
  const std::vector<std::pair<const char*, const char*>> cases{
      {"", ""},
      {"plain", "plain"},
      {"$(ONE)", "1"},
      {"a$(ONE)b$(TWO)c", "a1b2c"},
      {"$(ONE)$(ONE)", "11"},
      {"$(EMPTY)", ""},
      {"$(UNKNOWN)", "$(UNKNOWN)"},
      // A value is not expanded again.
      {"$(REF)", "$(ONE)"},
      {"$(DOLLARS)(ONE)", "$$(ONE)"},
      // Escapes.
      {"$$", "$"},
      {"$$(ONE)", "$(ONE)"},
      {"$$$(ONE)", "$1"},
      {"$$$$(ONE)", "$$(ONE)"},
      {"$$$$$(ONE)", "$$1"},
      {"$$ONE", "$ONE"},
      {"\\$(ONE)", "\\1"},
      // Not a reference.
      {"$ONE", "$ONE"},
      {"${ONE}", "${ONE}"},
      {"(ONE)", "(ONE)"},
      {"$", "$"},
      {"cost: 5$", "cost: 5$"},
      {"$?$!", "$?$!"},
      {"$(", "$("},
      {"$(ONE", "$(ONE"},
      {"$($($(", "$($($("},
      {"$(ONE)$(", "1$("},
      // A name ends at the first bracket, whatever it contains.
      {"$($(ONE))", "$($(ONE))"},
      {"$(A$$B)", "$(A$$B)"},
      {"$(A B)", "$(A B)"},
      {"$()", "nameless"},
      // Go's conversion of a byte to a character.
      {"$\xc3\xa9", "$\xc3\x83\xa9"},
      {"\xc3\xa9$(ONE)",
       "\xc3\xa9"
       "1"},
  };
  for (const auto& [input, output] : cases) EXPECT_EQ(expanded(input), output) << input;
}

}  // namespace
}  // namespace fallbackd::kube
