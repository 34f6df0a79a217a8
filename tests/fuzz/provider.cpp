// SPDX-License-Identifier: Apache-2.0
// A credential provider's answer, and kubelet's file that names the providers.
#include "config/provider_file.hpp"
#include "fuzz.hpp"
#include "watcher/provider_protocol.hpp"

#include <algorithm>

using namespace fallbackd;

namespace {

void answer(std::string_view text) {
  const auto parsed = watcher::parseProviderAnswer(text);
  if (!parsed) {
    fuzz::demand(parsed.error().context.size() < 200, "a refusal quotes nothing");
    return;
  }
  fuzz::demand(parsed->cacheDuration.value_or(std::chrono::nanoseconds(0)).count() >= 0,
               "no duration is negative");
  for (const auto& entry : parsed->auth) {
    fuzz::demand(!entry.credentials.username.empty() || !entry.credentials.password.empty(),
                 "credentials are not empty");
  }
  const auto image = *ImageReference::parse("r.x/shop/checkout:1");
  const auto found = parsed->credentialsFor(image);
  const bool fits = std::any_of(parsed->auth.begin(), parsed->auth.end(),
                                [&](const auto& one) { return one.pattern.matches(image); });
  fuzz::demand(found.has_value() == fits, "they belong to a matching entry");
}

void file(std::string_view text) {
  config::Problems problems;
  const auto providers = config::readProviderFile("it.yaml", text, problems);
  if (problems.count() > 0) return;
  for (const auto& one : providers) {
    fuzz::demand(!one.name.empty() && one.name != ".." && one.name.find('/') == std::string::npos,
                 "a program is in its folder");
    fuzz::demand(!one.matchImages.empty(), "a provider serves images");
    fuzz::demand(one.defaultCacheDuration.count() >= 0, "no duration is negative");
    for (const auto& variable : one.env) {
      fuzz::demand(variable.find('=') > 0 && variable.find('\0') == std::string::npos,
                   "variables have names");
    }
    for (const auto& argument : one.args) {
      fuzz::demand(argument.find('\0') == std::string::npos, "arguments contain no NUL");
    }
  }
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  answer(fuzz::text(data, size));
  file(fuzz::text(data, size));
  return 0;
}
