// SPDX-License-Identifier: Apache-2.0
#include "watcher/credentials.hpp"

#include "domain/image_pattern.hpp"
#include "sys/file.hpp"

#include <utility>
#include <vector>

#include <boost/json.hpp>

namespace fallbackd::watcher {

namespace {

namespace json = boost::json;

constexpr std::size_t kMaxBytes = 1 << 20;

std::string stringAt(const json::object& object, std::string_view key) {
  const auto* value = object.if_contains(key);
  const auto* text = value == nullptr ? nullptr : value->if_string();
  return text == nullptr ? std::string() : std::string(*text);
}

/// Docker's helper programs keep passwords elsewhere; kubelet does not ask them either. `what` is the key.
tl::unexpected<Error> refuseHelper(const std::string& file, const std::string& what) {
  return fail(Stage::detection, Reason::invalid,
              file + " leaves the password to a helper program of Docker (" + what +
                  "), which is not run here: write the password into \"auths\"");
}

bool isEmpty(const cri::Credentials& one) {
  return one.username.empty() && one.password.empty() && one.auth.empty() && one.identityToken.empty() &&
         one.registryToken.empty();
}

/// The value of the key that fits the image best; null where none does.
const json::value* bestOf(const json::object& object, const ImageReference& reference) {
  std::vector<ImagePattern> patterns;
  std::vector<const json::value*> values;
  for (const auto& item : object) {
    auto pattern = ImagePattern::parse({item.key().data(), item.key().size()});
    if (!pattern) continue;
    patterns.push_back(std::move(*pattern));
    values.push_back(&item.value());
  }
  const auto best = bestMatch(patterns, reference);
  return best ? values[*best] : nullptr;
}

}  // namespace

Result<std::optional<cri::Credentials>> parseCredentials(std::string_view text,
                                                         const ImageReference& reference,
                                                         const std::string& file) {
  boost::system::error_code error;
  const auto document = json::parse({text.data(), text.size()}, error);
  const auto* root = error ? nullptr : document.if_object();
  if (root == nullptr) {
    return fail(Stage::detection, Reason::invalid,
                file + " is not a dockerconfigjson: an object with \"auths\" is expected");
  }
  const auto* helpers = root->if_contains("credHelpers");
  if (helpers != nullptr && helpers->is_object() && bestOf(helpers->get_object(), reference) != nullptr) {
    return refuseHelper(file, "credHelpers");
  }
  const bool store = !stringAt(*root, "credsStore").empty();
  const auto* value = root->if_contains("auths");
  const auto* auths = value == nullptr ? nullptr : value->if_object();
  if (auths == nullptr && !store && helpers == nullptr) {
    return fail(Stage::detection, Reason::invalid,
                file + " is not a dockerconfigjson: an object with \"auths\" is expected");
  }
  const auto* entry = auths == nullptr ? nullptr : bestOf(*auths, reference);
  cri::Credentials found;
  if (entry != nullptr && entry->is_object()) {
    const auto& object = entry->get_object();
    found.username = stringAt(object, "username");
    found.password = stringAt(object, "password");
    found.auth = stringAt(object, "auth");
    found.identityToken = stringAt(object, "identitytoken");
    found.registryToken = stringAt(object, "registrytoken");
  }
  if (!isEmpty(found)) return found;
  // Beside a store, Docker leaves an empty entry for each registry.
  if (store) return refuseHelper(file, "credsStore");
  return std::nullopt;
}

Result<std::optional<cri::Credentials>> readCredentials(const std::string& file,
                                                        const ImageReference& reference) {
  FB_TRY(const auto text, sys::readFile(Stage::detection, file, kMaxBytes));
  return parseCredentials(text, reference, file);
}

}  // namespace fallbackd::watcher
