// SPDX-License-Identifier: Apache-2.0
#include "watcher/causes/texts.hpp"

#include <array>

namespace fallbackd::watcher {

namespace {

using Kind = Wrapper::Kind;
using Match = Ending::Match;

constexpr Wrapper does(Operation operation, std::string_view words) {
  return {words, Kind::operation, operation};
}

constexpr std::array kWrappers{
    // CRI and client.Pull
    does(Operation::none, "failed to pull and unpack image"),
    does(Operation::none, "Failed to pull image"),
    does(Operation::none, "failed to pull image"),
    does(Operation::image_reference, "failed to parse image reference"),
    does(Operation::image_reference, "failed to parse image_pull_progress_timeout"),
    does(Operation::unpack, "unpack"),
    does(Operation::unpack, "failed to unpack image on snapshotter"),
    // resolver
    does(Operation::resolve, "failed to resolve reference"),
    does(Operation::resolve, "failed to resolve image"),
    does(Operation::resolve, "failed to resolve"),
    does(Operation::request, "failed to do request"),
    does(Operation::token, "failed to authorize redirect"),
    does(Operation::token, "failed to authorize"),
    does(Operation::token, "failed to fetch anonymous token"),
    does(Operation::token, "failed to fetch oauth token"),
    does(Operation::token, "unable to decode token response"),
    Wrapper{"unexpected status", Kind::status, Operation::none},
    Wrapper{"unexpected HEAD status code", Kind::status, Operation::none},
    Wrapper{"received unexpected HTTP status", Kind::status, Operation::none},
    Wrapper{"pulling from host", Kind::status, Operation::resolve},
    // fetcher and content.Copy
    does(Operation::copy, "failed to copy"),
    does(Operation::copy, "httpReadSeeker"),
    does(Operation::copy, "failed open"),
    does(Operation::copy, "failed to discard to offset"),
    does(Operation::copy, "failed to seek to offset"),
    does(Operation::copy, "unable to resume write to"),
    // content store
    does(Operation::commit, "failed commit on ref"),
    does(Operation::commit, "commit failed"),
    does(Operation::content_store, "failed to get reader from content store"),
    does(Operation::content_store, "failed to open writer"),
    does(Operation::content_store, "failed to get status"),
    does(Operation::content_store, "failed to send write"),
    does(Operation::content_store, "failed to open data file"),
    does(Operation::content_store, "failed to perform sync"),
    does(Operation::content_store, "failed to get info from content store"),
    does(Operation::content_store, "unable to lease content"),
    does(Operation::content_store, "content digest"),
    does(Operation::content_store, "read image config from content store"),
    does(Operation::content_store, "get image config descriptor"),
    does(Operation::content_store, "unmarshal image config"),
    does(Operation::content_store, "failed to create image reference"),
    does(Operation::content_store, "failed to update image store"),
    does(Operation::content_store, "failed to get image"),
    does(Operation::content_store, "failed to resolve rootfs"),
    does(Operation::content_store, "failed to check image"),
    // unpacker
    does(Operation::extract, "failed to extract layer"),
    does(Operation::extract, "apply layer error for"),
    does(Operation::extract, "wrong diff id"),
    does(Operation::extract, "failed to get stream processor for"),
    does(Operation::extract, "failed to activate mounts"),
    does(Operation::extract, "failed to mount"),
    does(Operation::extract, "mount callback failed on"),
    does(Operation::snapshot, "failed to prepare extraction snapshot"),
    does(Operation::snapshot, "unable to prepare extraction snapshot"),
    does(Operation::snapshot, "failed to stat snapshot"),
    does(Operation::snapshot, "failed to commit snapshot"),
    does(Operation::snapshot, "unable to resolve snapshotter"),
    does(Operation::snapshot, "unable to get snapshotter capabilities"),
    does(Operation::snapshot, "failed to find supported platforms for snapshotter"),
    does(Operation::snapshot, "parent snapshot"),
    does(Operation::configuration, "unable to initialize unpacker"),
    does(Operation::configuration, "create unpacker"),
    // registry configuration: hosts.toml, CRI's registry section, credentials
    does(Operation::configuration, "get registry endpoints"),
    does(Operation::configuration, "get TLSConfig for registry"),
    does(Operation::configuration, "get default host"),
    does(Operation::configuration, "parse endpoint url"),
    does(Operation::configuration, "parse registry endpoint"),
    does(Operation::configuration, "parse server address"),
    does(Operation::configuration, "failed to update http client"),
    does(Operation::configuration, "failed to create OCI registry"),
    does(Operation::configuration, "failed to get fetcher for"),
    does(Operation::configuration, "failed to get credentials for"),
    does(Operation::configuration, "failed to get sandbox runtime for"),
    does(Operation::configuration, "invalid ref"),
    does(Operation::configuration, "invalid decoded auth"),
    does(Operation::configuration, "failed to load cert file"),
    does(Operation::configuration, "failed to load CA file"),
    does(Operation::configuration, "failed to load X509 key pair"),
    does(Operation::configuration, "failed to get system cert pool"),
    does(Operation::configuration, "unable to initialize cert pool"),
    does(Operation::configuration, "unable to read CA cert"),
    does(Operation::configuration, "unable to load CA cert"),
    does(Operation::configuration, "unable to read CERT file"),
    does(Operation::configuration, "cert file"),
    does(Operation::configuration, "key file"),
    does(Operation::configuration, "failed to parse TOML"),
    does(Operation::configuration, "unable to parse server"),
    does(Operation::configuration, "invalid `host` tree"),
    does(Operation::configuration, "unknown capability"),
    does(Operation::configuration, "no resolve hosts"),
    does(Operation::configuration, "no pull hosts"),
    does(Operation::configuration, "no realm specified for token auth challenge"),
    does(Operation::configuration, "invalid token auth challenge realm"),
    // another process on this node, over gRPC
    does(Operation::plugin, "connection error: desc ="),
    does(Operation::plugin, "transport:"),
    does(Operation::plugin, "error reading from server"),
    does(Operation::plugin, "failed to dial"),
    // the image verifiers of 2.x; a verifier writes the rest
    does(Operation::verifier, "blocking pull of"),
};

constexpr std::array kEndings{
    Ending{"image verifier ", Match::foreign, Effect::policy},
    Ending{"server is not initialized yet", Match::prefix, Effect::undecided},
    Ending{"locking ref ", Match::prefix, Effect::undecided},
    // resolver and fetcher
    Ending{"content at ", Match::prefix, Effect::not_found},
    Ending{"could not fetch content ", Match::prefix, Effect::not_found},
    Ending{"no match for platform in manifest", Match::prefix, Effect::not_found},
    Ending{"rejecting ", Match::prefix, Effect::unknown},
    Ending{"unexpected media type ", Match::prefix, Effect::unknown},
    Ending{"unhandled content range in response", Match::prefix, Effect::unknown},
    Ending{"failed to find supported auth scheme", Match::prefix, Effect::unknown},
    // sizes and digests that differ: anyone who pushes an image can cause this
    Ending{"unexpected commit ", Match::prefix, Effect::unknown},
    Ending{"short read: ", Match::prefix, Effect::unknown},
    Ending{"failed to read expected number of bytes", Match::prefix, Effect::unknown},
    Ending{"unable to fetch descriptor ", Match::prefix, Effect::unknown},
    Ending{"no unpack platforms defined", Match::prefix, Effect::unknown},
    Ending{"manifest sha256:", Match::prefix, Effect::unknown},
    Ending{"content sha256:", Match::prefix, Effect::unknown},
    // authorizer; "server message: WORDS: authorization failed"
    Ending{"pull access denied", Match::prefix, Effect::unauthorized},
    Ending{"authorization failed", Match::prefix, Effect::unauthorized},
    Ending{"server message: ", Match::prefix, Effect::unauthorized},
    Ending{"no basic auth credentials", Match::prefix, Effect::unauthorized},
    Ending{"failed to handle basic auth because missing username or secret", Match::prefix,
           Effect::unauthorized},
    // a registry's error codes; its message follows
    Ending{"toomanyrequests: ", Match::foreign, Effect::rate_limited},
    Ending{"unauthorized: ", Match::foreign, Effect::unauthorized},
    Ending{"denied: ", Match::foreign, Effect::unauthorized},
    Ending{"unavailable: ", Match::foreign, Effect::server_error},
    Ending{"unsupported: ", Match::foreign, Effect::unknown},
    Ending{"manifest unknown: ", Match::foreign, Effect::not_found},
    Ending{"name unknown: ", Match::foreign, Effect::not_found},
    Ending{"errors:", Match::foreign, Effect::unknown},
};

}  // namespace

std::span<const Wrapper> containerdWrappers() {
  return kWrappers;
}
std::span<const Ending> containerdEndings() {
  return kEndings;
}

}  // namespace fallbackd::watcher
