# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Completes batchweave(1) and mount.batchweave(8).  Commands and options are asked of the programs themselves,
# streams of /etc/fstab, /etc/batchweave and what is mounted.

_batchweave_commands() {
	batchweave help 2>/dev/null | sed -n 's/^  \([a-z]\+\)  .*/\1/p'
}

_batchweave_flags() {	# COMMAND
	batchweave "$1" --help 2>/dev/null | grep -oE -e '(^|[ [|])--?[a-z][a-z-]*' | grep -oE -e '-.*'
}

# Names as they stand in -o: those with a value end in "=".
_batchweave_mount_options() {
	mount.batchweave --help 2>/dev/null | sed -n 's/^  \([a-z_0-9]\+=\?\).*/\1/p'
}

_batchweave_streams() {
	sed -n 's/^\([^ ]*\) [^ ]* fuse\.batchweave .*/\1/p' /proc/self/mounts
	sed -n 's/^[[:blank:]]*\([^#[:blank:]]\+\)[[:blank:]]\+[^[:blank:]]\+[[:blank:]]\+batchweave[[:blank:]].*/\1/p' /etc/fstab
	sed -n 's/^URL=//p' /etc/batchweave/*.conf
} 2>/dev/null

_batchweave_mounts() {
	sed -n 's/^[^ ]* \([^ ]*\) fuse\.batchweave .*/\1/p' /proc/self/mounts 2>/dev/null
}

# Adds those WORDS that begin with the word that is being written.
_batchweave_offer() {	# WORD...
	local word
	for word in "$@"; do
		[[ $word != "$cur"* ]] || COMPREPLY+=("$word")
	done
}

# Names are written as the shell reads them: what stands in COMPREPLY is put on the line as it is.
_batchweave_directories() {	# [PREFIX]
	local dir
	while IFS= read -r dir; do
		COMPREPLY+=("${1-}$(printf %q "$dir")/")
	done < <(compgen -d -- "${cur#"${1-}"}")
	compopt -o nospace 2>/dev/null || true
}

_batchweave_files() {
	local file
	while IFS= read -r file; do
		COMPREPLY+=("$(printf %q "$file")")
	done < <(compgen -f -- "$cur")
}

_batchweave_url() {
	if [[ $cur == file://* ]]; then
		_batchweave_directories file://
	fi
	# shellcheck disable=SC2046
	_batchweave_offer $(_batchweave_streams | sort -u)
	if [[ ${#COMPREPLY[@]} = 0 && $cur != *:* ]]; then
		_batchweave_offer file:/// s3://
		compopt -o nospace 2>/dev/null || true
	fi
}

# What follows the last comma of -o is completed.
_batchweave_dash_o() {
	local before='' whole=$cur
	[[ $cur != *,* ]] || before=${cur%,*},
	cur=${whole#"$before"}
	# shellcheck disable=SC2046
	[[ $cur == *=* ]] || _batchweave_offer $(_batchweave_mount_options)
	COMPREPLY=("${COMPREPLY[@]/#/$before}")
	cur=$whole
	compopt -o nospace 2>/dev/null || true
}

_batchweave_value() {	# COMMAND FLAG: completes what follows FLAG, or fails
	case $2 in
	-o | --options | --producer-options | --reader-options) _batchweave_dash_o ;;
	--dir) _batchweave_directories ;;
	--state | --ca) _batchweave_files ;;
	--format) _batchweave_offer megatron deepspeed dcp hf orbax lightning pattern: ;;
	--compress) _batchweave_offer none zstd zstd: ;;
	--rows) _batchweave_offer ingest tail seek catchup hot loop ;;
	*) return 1 ;;
	esac
}

_batchweave_operand() {	# COMMAND NUMBER
	case $1:$2 in
	help:1)
		# shellcheck disable=SC2046
		_batchweave_offer $(_batchweave_commands)
		;;
	version:* | help:*) ;;
	mount:2) _batchweave_directories ;;
	status:1 | top:1 | bench:1)
		# shellcheck disable=SC2046
		_batchweave_offer $(_batchweave_mounts)
		_batchweave_url
		;;
	*:1) _batchweave_url ;;
	put:*) [ "$2" = 2 ] || _batchweave_files ;;
	esac
}

# Which operand is being written, from 1: neither flags nor their values count.
_batchweave_position() {	# COMMAND WORD...
	local help word takes='' n=0
	help=$(batchweave "$1" --help 2>/dev/null)
	shift
	for word in "$@"; do
		if [[ $takes = yes ]]; then
			takes=''
		elif [[ $word == -* ]]; then
			[[ $word != -o && $help != *"$word "[A-Z]* ]] || takes=yes
		else
			((++n))
		fi
	done
	echo "$n"
}

_batchweave() {
	local line=${COMP_LINE:0:COMP_POINT} words cur previous command i
	# shellcheck disable=SC2162	# a backslash before a blank keeps a name together
	read -a words <<<"$line"
	[[ $line != *[[:blank:]] ]] || words+=('')
	cur=${words[-1]}
	COMPREPLY=()
	((${#words[@]} > 1)) || return 0
	previous=${words[-2]}
	if [[ ${words[0]##*/} == mount.batchweave ]]; then
		command=mount
		i=1
	else
		command=${words[1]-}
		i=2
	fi
	if ((${#words[@]} <= i)) && [[ $command != mount || $i = 2 ]]; then
		# shellcheck disable=SC2046
		_batchweave_offer $(_batchweave_commands)
	elif _batchweave_value "$command" "$previous"; then
		:
	elif [[ $cur == -* ]]; then
		# shellcheck disable=SC2046
		_batchweave_offer $(if [[ $command = mount ]]; then
			echo -f -n -o -s -v --help --version
		else
			_batchweave_flags "$command"
		fi | tr ' ' '\n' | sort -u)
	else
		_batchweave_operand "$command" "$(_batchweave_position "$command" "${words[@]:i}")"
	fi
	# Readline takes ":" and "=" for ends of words, and replaces what follows the last of them.
	local cut=${cur%"${cur##*[:=]}"}
	[[ -z $cut || $COMP_WORDBREAKS != *[:=]* ]] || COMPREPLY=("${COMPREPLY[@]#"$cut"}")
}

complete -F _batchweave batchweave mount.batchweave
