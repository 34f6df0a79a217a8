// SPDX-License-Identifier: Apache-2.0
#include "kube/object_reader.hpp"

#include "base/async/within.hpp"
#include "base/base64.hpp"
#include "base/query.hpp"
#include "base/strings.hpp"
#include "kube/json_fields.hpp"
#include "kube/requests.hpp"

#include <utility>

namespace fallbackd::kube {

namespace asio = boost::asio;

namespace {

using Values = std::map<std::string, std::string>;

/// The `data` of an object; what is not base64 in a Secret is left out, because nothing can use it.
Values valuesOf(const boost::json::object& object, bool secret) {
  auto values = field::texts(object, "data");
  if (!secret) return values;
  Values decoded;
  for (auto& [key, text] : values) {
    auto bytes = decodeBase64(text);
    if (bytes) decoded.emplace(key, std::move(*bytes));
  }
  return decoded;
}

struct Kind {
  const char* resource;
  bool secret;
  const std::set<std::string>& names;
  ObjectContents& contents;
};

asio::awaitable<Result<>> readKind(Requests& requests, std::string namespaceName, Kind kind,
                                   ObjectAnswers& answers) {
  for (const auto& name : kind.names) {
    if (answers.configMaps.size() + answers.secrets.size() + answers.troubles.size() >=
        ObjectReader::kMaxObjects) {
      answers.troubles.emplace_back("a pod names more ConfigMaps and Secrets than are read");
      break;
    }
    if (!isPathSegment(name)) {
      answers.troubles.push_back(std::string("get ") + kind.resource + " " + fallbackd::quoted(name) +
                                 " in namespace " + namespaceName + ": no object can have this name");
      continue;
    }
    auto target =
        "/api/v1/namespaces/" + queryEscaped(namespaceName) + "/" + kind.resource + "/" + queryEscaped(name);
    FB_CO_TRY(const auto answer, co_await requests.get(std::move(target)));
    if (answer.status == 404) {
      kind.contents.emplace(name, std::nullopt);
      continue;
    }
    boost::json::error_code error;
    const auto value = answer.status == 200 ? boost::json::parse(answer.body, error) : boost::json::value();
    if (!error && value.is_object()) {
      kind.contents.emplace(name, valuesOf(value.get_object(), kind.secret));
      continue;
    }
    auto text = std::string("get ") + kind.resource + " " + name + " in namespace " + namespaceName +
                ": the API server answered " + std::to_string(answer.status);
    if (answer.status == 403)
      text += ": a Role there that allows to get " + std::string(kind.resource) + " is missing";
    answers.troubles.push_back(std::move(text));
  }
  co_return Result<>();
}

asio::awaitable<Result<>> readAll(AccessSource source, std::string namespaceName, NamedObjects names,
                                  ObjectAnswers& answers) {
  Requests requests(std::move(source), ObjectReader::kLimit);
  const Kind configMaps{"configmaps", false, names.configMaps, answers.configMaps};
  const Kind secrets{"secrets", true, names.secrets, answers.secrets};
  FB_CO_CHECK(co_await readKind(requests, namespaceName, configMaps, answers));
  FB_CO_CHECK(co_await readKind(requests, namespaceName, secrets, answers));
  co_return Result<>();
}

}  // namespace

asio::awaitable<ObjectAnswers> ObjectReader::read(std::string namespaceName, NamedObjects names) const {
  ObjectAnswers answers;
  const auto done = co_await within(kLimit, readAll(access_, namespaceName, std::move(names), answers));
  if (!done) {
    answers.troubles.push_back("variables in namespace " + namespaceName +
                               ": the API server did not answer in time");
  } else if (!*done) {
    answers.troubles.push_back("variables in namespace " + namespaceName + ": " + done->error().message());
  }
  co_return answers;
}

}  // namespace fallbackd::kube
