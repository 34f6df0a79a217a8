// SPDX-License-Identifier: Apache-2.0
#include "mirror/answers.hpp"

#include <utility>

#include <boost/json.hpp>

namespace fallbackd::mirror {

namespace {

constexpr const char* kJsonType = "application/json";

std::string_view toString(Code code) {
  switch (code) {
    case Code::manifest_unknown:
      return "MANIFEST_UNKNOWN";
    case Code::blob_unknown:
      return "BLOB_UNKNOWN";
    case Code::name_unknown:
      return "NAME_UNKNOWN";
    case Code::unauthorized:
      return "UNAUTHORIZED";
    case Code::unsupported:
      break;
  }
  return "UNSUPPORTED";
}

/// The header that every registry sends.
void markVersion(http::Response& answer) {
  answer.headers.emplace_back("Docker-Distribution-Api-Version", "registry/2.0");
}

}  // namespace

http::Response errorAnswer(unsigned status, Code code, const std::string& message) {
  const boost::json::object error{{"code", toString(code)}, {"message", message}};
  http::Response answer{status,
                        kJsonType,
                        boost::json::serialize(boost::json::object{{"errors", boost::json::array{error}}}),
                        {}};
  markVersion(answer);
  return answer;
}

http::Response refusalAnswer(unsigned status, std::string text) {
  while (text.ends_with('\n')) text.pop_back();
  return errorAnswer(status, Code::unsupported, text);
}

http::Response baseAnswer(Holder holder) {
  if (holder == Holder::no) {
    auto answer = errorAnswer(401, Code::unauthorized, "a token is required");
    answer.headers.emplace_back("WWW-Authenticate", "Bearer realm=\"fallbackd\"");
    return answer;
  }
  http::Response answer{200, kJsonType, "{}", {}};
  markVersion(answer);
  return answer;
}

http::Response manifestAnswer(Offer offer, http::Request::Method method) {
  http::Response answer{200, offer.mediaType, {}, {}};
  markVersion(answer);
  answer.headers.emplace_back("Docker-Content-Digest", offer.digest);
  answer.headers.emplace_back("ETag", "\"" + offer.digest + "\"");
  answer.length = offer.text.size();
  if (method == http::Request::Method::get) {
    answer.length = 0;
    answer.body = std::move(offer.text);
  }
  return answer;
}

http::Response blobAnswer(const std::string& digest, std::int64_t size, std::string_view rangeHeader,
                          std::optional<ByteRange>& range) {
  const auto asked = rangeAsked(rangeHeader, size);
  if (!asked.satisfiable) {
    auto answer = errorAnswer(416, Code::unsupported, "there are only " + std::to_string(size) + " bytes");
    answer.headers.emplace_back("Content-Range", "bytes */" + std::to_string(size));
    return answer;
  }
  http::Response answer{200, "application/octet-stream", {}, {}};
  markVersion(answer);
  answer.headers.emplace_back("Docker-Content-Digest", digest);
  answer.headers.emplace_back("Accept-Ranges", "bytes");
  answer.headers.emplace_back("ETag", "\"" + digest + "\"");
  range = asked.range;
  if (!range) {
    range = ByteRange{0, size - 1};
  } else {
    answer.status = 206;
    answer.headers.emplace_back("Content-Range", "bytes " + std::to_string(range->first) + "-" +
                                                     std::to_string(range->last) + "/" +
                                                     std::to_string(size));
  }
  answer.length = static_cast<std::uint64_t>(range->last - range->first + 1);
  return answer;
}

}  // namespace fallbackd::mirror
