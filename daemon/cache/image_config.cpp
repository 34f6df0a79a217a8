// SPDX-License-Identifier: Apache-2.0
#include "cache/image_config.hpp"

#include "base/strings.hpp"
#include "cache/json.hpp"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include <boost/json.hpp>

namespace fallbackd::cache {

namespace {

namespace json = boost::json;

constexpr std::size_t kMaxTexts = 1024;
constexpr std::size_t kMaxUser = 256;
constexpr JsonLimits kDocumentLimits{4 << 20, 4096};  // the history of an image can be long

struct Keys {
  std::string_view user, env, entrypoint, cmd, workingDir;
};
constexpr Keys kOci{"User", "Env", "Entrypoint", "Cmd", "WorkingDir"};
constexpr Keys kPredicate{"user", "env", "entrypoint", "cmd", "workingDir"};

tl::unexpected<Error> notAnImage(const std::string& what, const std::string& why) {
  return fail(Stage::admission, Reason::attestation_malformed, what + ": " + why);
}

/// Reads one object and counts the bytes of its texts.
class ImageReader {
 public:
  ImageReader(const json::object& object, std::string what) : object_(object), what_(std::move(what)) {}

  Result<ImageConfig> read(const Keys& keys) {
    ImageConfig config;
    FB_TRY(config.user, text(keys.user));
    FB_TRY(const auto variables, texts(keys.env));
    FB_TRY(config.entrypoint, texts(keys.entrypoint));
    FB_TRY(config.cmd, texts(keys.cmd));
    FB_TRY(config.workingDir, text(keys.workingDir));
    if (config.user.size() > kMaxUser) return notAnImage(what_, "the user's name is too long");
    if (!config.workingDir.empty() && !config.workingDir.starts_with('/')) {
      return notAnImage(what_, quoted(config.workingDir) + " is not an absolute path");
    }
    for (const auto& variable : variables) {
      const auto equals = variable.find('=');
      if (equals == std::string::npos || equals == 0) {
        return notAnImage(what_, "variable " + quoted(variable) + " is not NAME=VALUE");
      }
      config.env.emplace_back(variable.substr(0, equals), variable.substr(equals + 1));
    }
    return config;
  }

 private:
  Result<std::string> take(const json::value& value, std::string_view key) {
    const auto* const found = value.if_string();
    if (found == nullptr)
      return notAnImage(what_, std::string(key) + " is not a text, or contains an item that is not one");
    if (found->find('\0') != json::string::npos) {
      return notAnImage(what_, std::string(key) + " contains a NUL byte");
    }
    bytes_ += found->size();
    if (bytes_ > kMaxImageConfigBytes) {
      return fail(Stage::admission, Reason::too_large,
                  what_ + " has more than " + std::to_string(kMaxImageConfigBytes) +
                      " bytes of variables and arguments");
    }
    return std::string(*found);
  }

  Result<std::string> text(std::string_view key) {
    const auto* const value = object_.if_contains(key);
    if (value == nullptr || value->is_null()) return std::string();
    return take(*value, key);
  }

  Result<std::vector<std::string>> texts(std::string_view key) {
    std::vector<std::string> list;
    const auto* const value = object_.if_contains(key);
    if (value == nullptr || value->is_null()) return list;
    const auto* const items = value->if_array();
    if (items == nullptr || items->size() > kMaxTexts) {
      return notAnImage(
          what_, std::string(key) + " is not a list of at most " + std::to_string(kMaxTexts) + " texts");
    }
    for (const auto& item : *items) {
      FB_TRY(auto one, take(item, key));
      list.push_back(std::move(one));
    }
    return list;
  }

  const json::object& object_;
  std::string what_;
  std::size_t bytes_ = 0;
};

}  // namespace

Result<ImageDocument> parseImageDocument(std::string_view text, const std::string& what) {
  FB_TRY(const auto value, parseStrict(text, what, kDocumentLimits));
  const auto* const root = value.if_object();
  const auto* const inner = root == nullptr ? nullptr : root->if_contains("config");
  const auto* const config = inner == nullptr ? nullptr : inner->if_object();
  if (config == nullptr) {
    return notAnImage(
        what, "not the configuration of an OCI image; skopeo inspect --config docker://IMAGE prints it");
  }
  ImageDocument document;
  document.os = stringAt(*root, "os");
  document.architecture = stringAt(*root, "architecture");
  FB_TRY(document.config, ImageReader(*config, what).read(kOci));
  return document;
}

Result<ImageConfig> readImageConfig(const json::value& value, const std::string& what) {
  const auto* const object = value.if_object();
  if (object == nullptr) return notAnImage(what, "image is not an object");
  constexpr std::array kKnown{kPredicate.user, kPredicate.env, kPredicate.entrypoint, kPredicate.cmd,
                              kPredicate.workingDir};
  for (const auto& entry : *object) {
    if (std::find(kKnown.begin(), kKnown.end(), entry.key()) == kKnown.end()) {
      return fail(Stage::admission, Reason::attestation_unsupported,
                  what + ": predicate key image." + std::string(entry.key()) + " is not known");
    }
  }
  return ImageReader(*object, what + ": image").read(kPredicate);
}

json::object writeImageConfig(const ImageConfig& config) {
  json::object object;
  if (!config.user.empty()) object[kPredicate.user] = config.user;
  if (!config.env.empty()) {
    json::array list;
    for (const auto& [name, value] : config.env) list.emplace_back(name + "=" + value);
    object[kPredicate.env] = std::move(list);
  }
  if (!config.entrypoint.empty()) {
    object[kPredicate.entrypoint] = json::array(config.entrypoint.begin(), config.entrypoint.end());
  }
  if (!config.cmd.empty()) object[kPredicate.cmd] = json::array(config.cmd.begin(), config.cmd.end());
  if (!config.workingDir.empty()) object[kPredicate.workingDir] = config.workingDir;
  return object;
}

}  // namespace fallbackd::cache
